"""How much memory a run of verl's FSDP engines with vLLM needs, counted from the model's shape; pure. Counts no activations.

Bytes throughout. Sources: verl 0.9.1 workers/engine/fsdp/transformer_impl.py (fp32 weights, gradients and Adam's states, sharded over all
GPUs; products in bf16; a reference model that waits in the host's memory), trainer/ppo/v1 (the rollout sleeps while the actor learns) and
harness/inside/weights.py (each model's first weights are kept on the host, so that one engine can serve many trials).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FP32, BF16 = 4, 2
ADAM_STATES = 2  # first and second moment, fp32 each
GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A dense decoder of the Llama family, from its config.json."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    groups: int  # key-value heads
    vocabulary: int
    head: int | None = None  # width of a head; None: hidden / heads
    tied: bool = False  # the last layer is the embedding
    biases: str = ""  # of the attention's projections: letters of "qkvo"
    normed_heads: bool = False  # a norm over each query's and each key's head

    @property
    def width(self) -> int:
        return self.head or self.hidden // self.heads

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """Of one layer: inputs and outputs of each linear map."""
        queries, keys = self.heads * self.width, self.groups * self.width
        attention = {"q": (self.hidden, queries), "k": (self.hidden, keys), "v": (self.hidden, keys), "o": (queries, self.hidden)}
        gated = {"gate": (self.hidden, self.intermediate), "up": (self.hidden, self.intermediate), "down": (self.intermediate, self.hidden)}
        return attention | gated

    @property
    def layer(self) -> int:
        """Parameters of one layer, its norms included."""
        maps = sum(inputs * outputs for inputs, outputs in self.projections.values())
        biases = sum(self.projections[name][1] for name in self.biases)
        return maps + biases + 2 * self.hidden + (2 * self.width if self.normed_heads else 0)

    @property
    def embeddings(self) -> int:
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        return self.layers * self.layer + self.embeddings + self.hidden

    def adapters(self, rank: int) -> int:
        """Parameters of LoRA on every linear map of every layer: rank x (inputs + outputs) each (arXiv 2106.09685)."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.projections.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What of a recipe decides on memory."""

    gpus: int
    gpu_bytes: int
    tokens_per_gpu: int  # of a micro-batch
    rollout_share: float  # of a GPU, while it generates: gpu_memory_utilization
    tensor_parallel: int = 1
    lora_rank: int = 0
    critic: bool = False
    reference: bool = True  # as a model of its own: with LoRA the actor without its adapters is the reference
    param_offload: bool = False
    optimizer_offload: bool = False


def shape_of(config: Mapping[str, int], *, tied: bool = False) -> Shape | None:
    """The shape that the numbers of a config.json tell; None where they are not those of a decoder."""
    try:
        return Shape(
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            groups=config.get("num_key_value_heads", config["num_attention_heads"]),
            vocabulary=config["vocab_size"],
            head=config.get("head_dim"),
            tied=tied,
        )
    except KeyError:
        return None


def setting_of(tree: Mapping[str, Any], *, gpu_bytes: int) -> Setting:
    """What a resolved configuration of verl's FSDP engines decides; raises KeyError for another tree."""
    model, actor, rollout = (tree["actor_rollout_ref"][name] for name in ("model", "actor", "rollout"))
    return Setting(
        gpus=tree["trainer"]["n_gpus_per_node"] * tree["trainer"]["nnodes"],
        gpu_bytes=gpu_bytes,
        tokens_per_gpu=actor["ppo_max_token_len_per_gpu"],
        rollout_share=rollout["gpu_memory_utilization"],
        tensor_parallel=rollout["tensor_model_parallel_size"],
        lora_rank=model["lora_rank"],
        critic=tree["algorithm"]["adv_estimator"] == "gae",
        reference=actor["use_kl_loss"] or tree["algorithm"]["use_kl_in_reward"],
        param_offload=actor["fsdp_config"]["param_offload"],
        optimizer_offload=actor["fsdp_config"]["optimizer_offload"],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Of each GPU in the two phases that need most, and of the host for all GPUs together."""

    learning: int
    generating: int
    rollout_weights: int  # part of the rollout's share
    cache: int  # what the rollout's share leaves for keys and values; below 0 it cannot start
    host: int


def memory(shape: Shape, setting: Setting) -> Memory:
    """learning = every trained model's weights, gradients and Adam's states / GPUs + the largest unit that is gathered + the logits.
    generating = weights and Adam's states that are not offloaded / GPUs + the rollout's share.
    host = what is offloaded + the reference model + a copy of each trained model's first weights.

    While one model learns, another one that is offloaded is away. Logits are counted in fp32, with their gradient. Left out: activations
    (a few GiB with gradient checkpointing), CUDA's context, NCCL's buffers, fragmentation, what vLLM keeps asleep (1 to 4 GiB), images.
    """
    models = 2 if setting.critic else 1
    weights = FP32 * shape.parameters
    trained = shape.adapters(setting.lora_rank) if setting.lora_rank else shape.parameters
    held = weights + (FP32 * shape.adapters(setting.lora_rank) if setting.lora_rank else 0)
    states = ADAM_STATES * FP32 * trained
    resting = (0 if setting.param_offload else held) + (0 if setting.optimizer_offload else states)
    learns = held + FP32 * trained + states
    gathered = BF16 * max(shape.layer, shape.embeddings)
    logits = 2 * FP32 * setting.tokens_per_gpu * shape.vocabulary
    share = int(setting.rollout_share * setting.gpu_bytes)
    served = BF16 * shape.parameters // setting.tensor_parallel
    offloaded = (held if setting.param_offload else 0) + (states if setting.optimizer_offload else 0)
    reference = weights if setting.reference and not setting.lora_rank else 0
    return Memory(
        learning=(learns + (models - 1) * resting) // setting.gpus + gathered + logits,
        generating=models * resting // setting.gpus + share,
        rollout_weights=served,
        cache=share - served,
        host=models * (offloaded + held) + reference,
    )
