"""Which weights of a network are trained? All, those of its head, or LoRA weights beside attention and MLP layers."""

from typing import Any, Literal

from peft import LoraConfig
from peft.tuners.lora import LoraModel
from torch import nn

from augment.errors import UserError

Adapt = Literal["full", "head", "lora"]

NAMES = "qkv q k v kv q_proj k_proj v_proj out_proj proj fc1 fc1_g fc1_x fc2 w12 w3"
LAYERS = frozenset(NAMES.split())
"""What timm calls the linear layers of attention and of MLPs, in its families of transformers."""


class Adapted:
    """A network of which only a part is trained.

    Args:
        network: timm's, with a new head; changed in place.
        how: `full` trains everything; `head` the last layer alone, a linear probe; `lora` the head, and weights of low
            rank beside the attention and MLP layers (Hu et al. 2022).
        rank: Of these.

    Raises:
        UserError: If the network has no such layers.
    """

    def __init__(self, network: nn.Module, how: Adapt, rank: int) -> None:
        self.how = how
        self._lora: LoraModel | None = None
        if how == "full":
            return
        layers = attention_and_mlp(network) if how == "lora" else []
        if how == "lora" and not layers:
            problem = f"{type(network).__name__} has no attention or MLP layers for LoRA weights"
            raise UserError("model.adapt", problem, "use full or head, or choose a transformer")
        network.requires_grad_(False)
        if layers:
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers)
            self._lora = LoraModel(network, config, "default")  # puts its layers into the network itself
        head_of(network).requires_grad_(True)

    def train(self, network: nn.Module) -> None:
        """Keep what is frozen as it is when it is tested: no dropout, and no new statistics of its batch norms."""
        if self.how == "head":
            network.eval()
            head_of(network).train()

    def whole(self, network: nn.Module) -> nn.Module:
        """The network with the LoRA weights added to its own, as any of its kind."""
        if self._lora is None:
            return network
        merged: nn.Module = self._lora.merge_and_unload()
        return merged


def head_of(network: Any) -> nn.Module:
    """The last layer, or layers, that tell the classes."""
    head: nn.Module = network.get_classifier()
    return head


def attention_and_mlp(network: nn.Module) -> list[str]:
    """Names of the linear layers of attention and of MLPs, the head's left out."""
    own = set(head_of(network).modules())
    return [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and layer not in own and name.rpartition(".")[2] in LAYERS
    ]
