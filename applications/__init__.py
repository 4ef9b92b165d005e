"""What the likelihoods of a checkpoint are good for: a lossless codec for images, and maps of what is unusual."""
