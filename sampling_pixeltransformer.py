joint_log_prob = sample = sample_iter = None
