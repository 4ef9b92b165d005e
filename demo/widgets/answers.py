"""What several models say of the same digit: a card for each, and its probability of ink at the pixel one points at."""

import base64
from typing import Any

from torch import Tensor

from demo.widgets import Widget


class Answers(Widget):
    """Value: a list of `card(...)`. Pointing at a pixel of a picture, or of a `Board`, shows each model's probability.

    Properties besides the value: `empty`, a text shown where there is no card; `task`, the name of what they answer.
    """

    def __init__(self, value: list[dict] | None = None, empty: str = "", task: int = 0, **named: Any):
        template = '<p class="pt-pointed" aria-live="polite"></p><div class="pt-cards"></div>'
        super().__init__(value or [], "answers.js", template, empty=empty, task=task, **named)


def card(
    name: str, source: str, said: str, pictures: list[tuple[str, str]], probabilities: Tensor | None, best: bool
) -> dict:
    """One model's card.

    Args:
        name (`str`): The model.
        source (`str`): Its paper.
        said (`str`): Its figures, or why it cannot answer.
        pictures (`list`): Data URLs and the texts for those who do not see them.
        probabilities (`Tensor` (D,) or `None`): Probability of ink at each pixel.
        best (`bool`): Whether no other model's likelihood is higher.
    """
    packed = (
        None
        if probabilities is None
        else base64.b64encode(bytes((probabilities * 255).round().int().tolist())).decode()
    )
    shown = [{"url": url, "text": text} for url, text in pictures]
    return {"name": name, "source": source, "said": said, "pictures": shown, "probabilities": packed, "best": best}
