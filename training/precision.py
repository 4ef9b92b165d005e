"""In which precision matrices are multiplied fastest: bfloat16 where the hardware does it, float32 elsewhere."""

import torch


def multiplies_bf16(device_type: str) -> bool:
    """Whether the hardware multiplies bfloat16 matrices itself.

    On CPUs that do not (x86 without AVX512-BF16 or AMX), PyTorch's bfloat16 products take up to 50 times as long as
    float32's.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu":
        return True
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last on ARM


def choose_precision(flag: str, device_type: str, launched: str | None = None) -> str:
    """What accelerate calls the precision of `--mixed_precision` on a device.

    Args:
        launched (`str` or `None`): What the launcher was asked for, which "auto" follows; its "no" is also its default
            and asks for nothing. Else "auto" becomes "bf16" or "no".
    """
    if flag != "auto":
        return flag
    if launched in ("bf16", "fp16"):
        return launched
    return "bf16" if multiplies_bf16(device_type) else "no"
