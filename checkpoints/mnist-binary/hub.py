"""Saving a model and pushing it to the Hub: code, weights, image processor and a card, which is kept if it exists."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from .card import model_card

PICTURES = (".png", ".gif", ".jpg", ".jpeg", ".webp", ".svg", ".mp4")  # file types that a card may show


def is_of_images(config) -> bool:
    """Whether a model takes pictures, so that an image processor can make its arguments."""
    return config.signal == "image" and config.position_dim == 2 and config.value_dim in (1, 3)


class HubMixin:
    """Adds the model card to saving and pushing of a `PreTrainedModel`."""

    def save_pretrained(self, save_directory: str | os.PathLike, *, replace_card: bool = False, **kwargs) -> None:
        """Write config, safetensors weights, the code files and a model card (README.md) into a folder.

        A model of images gets its image processor and the pipeline "pixel-completion" too.

        Args:
            replace_card (`bool`): Replace a card that the folder already has; by default it is kept.
        """
        if kwargs.pop("push_to_hub", False):
            raise ValueError("push_to_hub: call model.push_to_hub(repo_id) instead, which uploads the card too")
        # These imports put the two modules among those that are copied; a model without pictures needs no Pillow.
        from .image_processing_pixeltransformer import PixelTransformerImageProcessor
        from .pixel_completion import CUSTOM_PIPELINES

        of_images, main = is_of_images(self.config), kwargs.get("is_main_process", True)
        if of_images:
            self.config.custom_pipelines = CUSTOM_PIPELINES
        super().save_pretrained(save_directory, **kwargs)
        if of_images and main:
            PixelTransformerImageProcessor.of(self.config).save_pretrained(save_directory)
        card = os.path.join(save_directory, "README.md")
        if main and (replace_card or not os.path.exists(card)):
            self._card(str(save_directory)).save(card)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload PixelTransformer",
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        replace_card: bool = False,
        **kwargs,
    ) -> str:
        """Create the repository if need be and upload what `save_pretrained` writes, card included, as one commit.

        A card that the repository already has is kept. Otherwise the card of the folder that the model was loaded from
        is uploaded, with the pictures and licence in that folder. (The inherited method would upload an empty card.)

        Args:
            replace_card (`bool`): Write a new card from the config, whatever the repository or the folder has.

        Further arguments go to `save_pretrained`.

        Returns:
            `str`: URL of the commit.
        """
        from huggingface_hub import HfApi  # slow to import, and only pushing needs it

        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, **kwargs)
            card = Path(folder, "README.md")
            self._card(repo_id).save(card)
            if not replace_card:
                if api.file_exists(repo_id, "README.md", revision=revision):
                    card.unlink()
                else:
                    self._copy_card(Path(folder), repo_id)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message,
                revision=revision,
                create_pr=create_pr,
            )
        return commit.commit_url

    def _copy_card(self, folder: Path, repo_id: str) -> None:
        """Copy card, pictures and licence from the folder that the model was loaded from, if it has a card."""
        source = Path(self.name_or_path or os.devnull)
        if not (source / "README.md").is_file():
            return
        for file in source.iterdir():
            if file.suffix.lower() in PICTURES or file.name.upper().startswith("LICENSE"):
                shutil.copyfile(file, folder / file.name)
        text = (source / "README.md").read_text(encoding="utf-8")
        text = re.sub(r'from_pretrained\("[^"]*"', f'from_pretrained("{repo_id}"', text)  # the example in the card
        (folder / "README.md").write_text(text, encoding="utf-8")

    def _card(self, name: str):
        return model_card(self.config, sum(p.numel() for p in self.parameters()), name)
