"""The interface of a model family: all that differs between the multimodal models that transformers implements.

docs/adding-a-family.md shows how to write one, here or in a package of one's own, and how to check it.
Modules of families import torch and transformers inside methods: what only lists families stays quick.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Float, Int64

from headhunt_svc.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # shapes are checked at run time all the same

ModelConfig = Any  # a configuration of transformers, whose fields differ between families
ModelInputs = dict[str, Any]  # keyword arguments of the model
Pixels = Float[Tensor, "segment frame 3 height width"]
TokenIds = Int64[Tensor, "segment token"]
Encoded = tuple[Tensor, ...]  # the vision tower's outputs for one frame (or pair): [token, width] at every level
Norm = tuple[float, float, float]  # of red, green and blue

IMAGENET: tuple[Norm, Norm] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_NORM: tuple[Norm, Norm] = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF: tuple[Norm, Norm] = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Clip:
    """What a prompt's layout depends on: number of frames, their size after the resize, seconds between two of them."""

    n_frames: int
    height: int
    width: int
    frame_s: float


@dataclass(frozen=True, slots=True)
class VisionWork:
    """What the vision tower does for a clip, as far as its cost depends on it (model/flops.py).

    tower, projectors: names of the modules in the base model. patches: that are embedded. rows: that the tower's layers
    work on. pairs: of rows that attend to each other, summed over layers. projected: rows that the projectors read.
    """

    tower: str
    projectors: tuple[str, ...]
    patches: int
    rows: int
    pairs: int
    projected: int


class Family(ABC):
    """Lays out prompts and pictures as one family of models was trained to see them. Holds no state."""

    name: ClassVar[str]  # as people call it
    checkpoints: ClassVar[tuple[str, ...]] = ()  # hub ids that this layout is for; others of the type load, too
    original_types: ClassVar[tuple[str, ...]] = ()  # model types of the authors' own format, which needs code of theirs
    decoders: ClassVar[tuple[str, ...]] = ()  # model types of text decoders that were checked; none: any
    model_class: ClassVar[str]  # name of the class in transformers
    video_text: ClassVar[str]  # what the chat template writes where a video belongs
    norm: ClassVar[tuple[Norm, Norm]]  # mean and standard deviation, where the checkpoint states none

    def check_decoder(self, decoder: str, mllm_id: str) -> None:
        """Raise ModelError for a text decoder that was not checked with this family."""
        if self.decoders and decoder not in self.decoders:
            raise ModelError(
                f"{mllm_id} has a decoder of type {decoder!r}, which is not supported in {self.name} (its prompts and "
                f"attention are laid out otherwise); supported: {', '.join(self.decoders)}"
            )

    def chat_template(self, tokenizer: Any) -> str | None:
        """The template of a chat with a video: the tokenizer's, unless the family's processor takes its own."""
        return str(tokenizer.get_chat_template()) if tokenizer.chat_template else None

    def image_size(
        self, config: ModelConfig, preprocessing: dict[str, Any], height: int, width: int
    ) -> tuple[int, int]:
        """(height, width) of a picture after the resize: the vision tower's own, whatever the picture's.

        preprocessing: the checkpoint's own settings.
        """
        size = config.vision_config.image_size
        return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (int(size), int(size))

    def resize_steps(
        self, config: ModelConfig, preprocessing: dict[str, Any], height: int, width: int
    ) -> tuple[tuple[int, int], ...]:
        """The sizes that a picture is given one after the other; the last is `image_size`."""
        return (self.image_size(config, preprocessing, height, width),)

    @abstractmethod
    def token_grid(self, config: ModelConfig, clip: Clip) -> tuple[int, int, int]:
        """(frames, rows, columns) of a clip's visual tokens, in this order."""

    @abstractmethod
    def clip_text(self, config: ModelConfig, clip: Clip) -> str:
        """The text that takes the place of `video_text` in a prompt."""

    @abstractmethod
    def picture_inputs(self, config: ModelConfig, pixels: Pixels, clip: Clip) -> ModelInputs:
        """The model's arguments that hold the pictures."""

    @abstractmethod
    def encode_frames(self, model: Any, pictures: ModelInputs) -> list[Encoded]:
        """The base model's vision-tower outputs for `picture_inputs` of clips of `frames_at_once` frames."""

    @abstractmethod
    def with_encoded_frames(self, model: Any, clips: list[list[Encoded]]) -> ModelInputs:
        """The arguments that replace `picture_inputs` once every clip's frames are encoded."""

    def frames_at_once(self, config: ModelConfig) -> int:
        """How many frames the vision tower encodes together."""
        return 1

    def visual_token_id(self, config: ModelConfig) -> int:
        """The id of the token that stands for a piece of a picture."""
        return int(config.video_token_id)

    def vision_work(self, config: ModelConfig, clip: Clip) -> VisionWork | None:
        """What the vision tower does for a clip; None where the family does not say it."""
        return None

    def position_inputs(self, config: ModelConfig, ids: TokenIds, clip: Clip) -> ModelInputs:
        """Further arguments that say where in the prompt the pictures are."""
        return {}


def encoder_outputs(kind: str, tokens: Any, deeper: list[Any] | None = None) -> ModelInputs:
    """The argument of transformers for outputs of the vision tower; kind: "image" or "video"."""
    return {"mm_encoder_outputs": {kind: SimpleNamespace(pooler_output=tokens, deepstack_features=deeper)}}
