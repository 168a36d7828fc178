"""The settings of a study: their names, meaning, defaults and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SHORT_NAMES = {
    "swin": "swin_tiny_patch4_window7_224",
    "convnext": "convnext_tiny",
    "vit": "vit_small_patch16_224",
    "efficientnet": "efficientnet_b0",
}

FROZEN = ".frozen"  # behind a backbone's name: it is not trained, only a linear head on what it sees

MOST_PAIRED = 100  # patients, up to which an inner penalty leaves out every pair

CLASS = "class"  # as a stratum: the label, whatever its column is called

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of the settings file: immutable, and it refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PathSettings(Section):
    """Where things are."""

    store: Path = Field(Path("cohort.h5"), description="the packed cohort")
    runs: Path = Field(Path("runs"), description="the folder that holds every run")
    share: str | None = Field(
        None, description="a group of this machine that may read stores and runs; left out: nobody but you"
    )


class PackSettings(Section):
    """How images become a store."""

    size: int = Field(128, ge=16, le=1024, description="height and width of a stored cell, in pixels")
    fit: Literal["pad", "crop", "resize"] = Field("pad", description="how an image of another size meets the canvas")
    pseudonymise: Path | None = Field(
        None, description="the key file under which patients get pseudonyms (make one: msbatch key new FILE)"
    )


class PlanSettings(Section):
    """What is trained."""

    backbones: tuple[str, ...] = Field(("resnet50",), min_length=1, description="timm names or short names")
    seed: int = Field(0, ge=0, lt=2**31, description="of folds, sampling, augmentation and initial weights")
    val_patients: int | None = Field(
        None, ge=0, description="inner validation patients per fold; left out: 2, or 4 from 16 patients on"
    )
    balance: tuple[str, ...] = Field(
        (CLASS,), description="training cells are sampled evenly over classes, and within them over these columns"
    )
    rebalance: bool = Field(
        False, description="for a patient who is held out, drop one of the other class from training, by lot"
    )
    train_on: str | None = Field(
        None, description="COLUMN=VALUE: only these patients train and validate; everyone is held out all the same"
    )
    seeds: int = Field(1, ge=1, le=100, description="trainings of every fold, with seed, seed + 1, ...")
    permute_labels: int = Field(
        0, ge=0, le=1000, description="times that everything is trained once more under permuted labels"
    )

    @field_validator("balance")
    @classmethod
    def _class_first(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((CLASS, *names)))

    @field_validator("train_on")
    @classmethod
    def _column_and_value(cls, text: str | None) -> str | None:
        if text is not None and not all(part.strip() for part in text.partition("=")):
            raise ValueError(f"{text} is not COLUMN=VALUE, such as sex=F")
        return text

    def scientific(self) -> dict[str, Any]:
        """Give what of the design can change a result, as JSON values, where it is not as by default."""
        return self.model_dump(mode="json", include={"balance", "rebalance", "train_on"}, exclude_defaults=True)


class TrainingSettings(Section):
    """The recipe; one and the same on a laptop and on a cluster."""

    batch_size: int = Field(32, ge=2, description="images per optimiser step, over all processes together")
    head_steps: int = Field(40, ge=0, description="optimiser steps that train the new head alone")
    steps: int = Field(200, ge=1, description="optimiser steps that train every layer, after those of the head")
    eval_every: int = Field(40, ge=1, description="optimiser steps between validations and checkpoints")
    patience: int = Field(4, ge=1, description="validations without improvement before training stops")
    head_lr: float = Field(3e-3, gt=0, description="peak learning rate of the head while it trains alone")
    lr: float = Field(1e-3, gt=0, description="peak learning rate of the top layer")
    layer_decay: float = Field(
        0.9, gt=0, le=1, description="factor on the learning rate per layer group below the head"
    )
    weight_decay: float = Field(0.05, ge=0, description="decoupled weight decay of AdamW")
    warmup_fraction: Fraction = Field(0.1, description="part of a phase over which its learning rate rises")
    label_smoothing: float = Field(0.05, ge=0, lt=0.5, description="probability moved to the other class")
    drop_rate: Fraction = Field(0.1, description="dropout before the head")
    drop_path: Fraction = Field(0.1, description="stochastic depth")
    ema_decay: float = Field(
        0.98, ge=0, lt=1, description="of the averaged weights that are validated and kept; 0: none"
    )
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    tta: bool = Field(True, description="mean logit over the 8 flips and quarter turns of a cell, at evaluation")
    input_px: int | None = Field(
        None,
        ge=16,
        le=1024,
        description="side of the network's input; left out: the store's, or what the network was built for",
    )
    precision: Literal["auto", "fp32", "fp64", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 or fp16 on a GPU, fp32 on the CPU"
    )


class AugmentSettings(Section):
    """Random changes to training cells."""

    orientation: bool = Field(True, description="flips and quarter turns")
    rotate_deg: float = Field(45, ge=0, le=180, description="largest free rotation")
    scale: float = Field(0.1, ge=0, lt=1, description="largest relative change of size")
    blur: Fraction = Field(0.1, description="probability of a mild blur")
    brightness: float = Field(0.1, ge=0, le=1, description="largest relative change of brightness and contrast")
    stain: float = Field(0.1, ge=0, le=1, description="largest relative change of hue and saturation")


class WeightSettings(Section):
    """Where a backbone starts."""

    pretrained: bool = Field(True, description="start from pretrained weights")
    dir: Path = Field(Path("weights"), description="holds <timm name>.safetensors or .pth")


class ProbeSettings(Section):
    """What is asked of frozen backbones; no part of a run's identity."""

    permutations: int = Field(10_000, ge=99, le=1_000_000, description="of each test, where not all can be looked at")
    penalty: Literal["label-free", "inner"] = Field(
        "label-free", description="of the ridge head: from the features alone, or chosen by patients left out in turn"
    )
    covariates: tuple[str, ...] | None = Field(
        None, description="columns that are tried to be read from images; left out: all that can be"
    )


class ComputeSettings(Section):
    """What a task may use; no part of a run's identity."""

    device: Literal["cpu", "cuda"] = Field("cpu", description="a task planned for cuda never falls back to the CPU")
    processes: int = Field(1, ge=1, le=64, description="processes of a task, one per GPU")
    threads: int = Field(1, ge=1, le=256, description="CPU threads of a process")
    workers: int = Field(0, ge=0, le=64, description="loader processes per process; results do not depend on it")
    nodes: int = Field(1, ge=1, le=16, description="nodes that the processes of a task are spread over")
    memory_budget_gb: float = Field(
        4, gt=0, description="images that a task keeps in memory on each node; more than that are mapped from the store"
    )
    compile: bool = Field(
        False, description="compile networks, each once per run; without a C++ compiler they train as they are"
    )
    profile: bool = Field(False, description="trace some steps of each backbone's first fold and say what bounds them")
    resident: bool = Field(
        False, description="keep training cells on the device; only where [augment] changes nothing, which is CPU work"
    )

    @model_validator(mode="after")
    def _even(self) -> ComputeSettings:
        if self.processes % self.nodes:
            raise ValueError(f"{self.processes} processes cannot be spread evenly over {self.nodes} nodes")
        return self


class ClusterSettings(Section):
    """What this cluster wants to be told, and what a task may use there; no part of a run's identity."""

    site: Path | None = Field(None, description="a file of these same settings, laid under the ones given here")
    partition: str | None = Field(None, description="left out: the cluster's default")
    account: str | None = Field(None, description="what the hours are charged to")
    qos: str | None = Field(None, description="quality of service")
    constraint: str | None = Field(None, description="features that a node must have")
    gpus: Literal["gres", "gpus-per-node"] = Field("gres", description="how this site wants to be asked for GPUs")
    gpu_type: str | None = Field(None, description="the site's name of a GPU model")
    time_min: int = Field(240, ge=1, description="time limit of a task; one that reaches it resumes by itself")
    mem_gb: float = Field(16, gt=0, description="memory of a task on each node")
    cpus: int | None = Field(
        None, ge=1, description="cores of a task on each node; left out: what processes, threads and workers need"
    )
    array_parallelism: int = Field(64, ge=1, description="tasks that run at once")
    signal_lead_s: int = Field(180, ge=15, description="warning before the time limit, to write a checkpoint in")
    hang_min: float = Field(30, gt=0, description="a task that takes no step for so long is stopped and resumed")
    extra: tuple[str, ...] = Field((), description="further sbatch options, such as --exclude=node7")
    modules: tuple[str, ...] = Field((), description="environment modules to load before a task, such as apptainer")
    reducer_partition: str | None = Field(None, description="where the reducer job runs; left out: as the tasks")
    reducer_time_min: int = Field(30, ge=1, description="time limit of the reducer job")
    reducer_mem_gb: float = Field(4, gt=0, description="memory of the reducer job")
    runtime: Literal["sandbox", "sif", "none"] = Field(
        "sandbox", description="image unpacked to the node's own disk, image as it is, or no container"
    )
    image: Path = Field(Path("msbatch.sif"), description="the container image (make one: msbatch container build)")
    program: str | None = Field(None, description="apptainer or singularity; left out: whichever is there")
    scratch: str = Field("/tmp", description="a folder on the node's own disk; $VARIABLES are the node's")  # noqa: S108
    binds: tuple[str, ...] = Field((), description="further paths that the container sees, as SOURCE:TARGET:ro")

    @model_validator(mode="after")
    def _leaves_time(self) -> ClusterSettings:
        if 2 * self.signal_lead_s > 60 * self.time_min:
            raise ValueError(
                f"a limit of {self.time_min} min (--time) is less than twice the warning of "
                f"{self.signal_lead_s} s (--signal-lead)"
            )
        return self


class Settings(Section):
    """All settings of a study."""

    paths: PathSettings = PathSettings()
    pack: PackSettings = PackSettings()
    plan: PlanSettings = PlanSettings()
    training: TrainingSettings = TrainingSettings()
    augment: AugmentSettings = AugmentSettings()
    weights: WeightSettings = WeightSettings()
    compute: ComputeSettings = ComputeSettings()
    probe: ProbeSettings = ProbeSettings()
    cluster: ClusterSettings = ClusterSettings()

    def scientific(self) -> dict[str, Any]:
        """Give the settings that can change a result, as JSON values: part of a run's identity."""
        sections = self.model_dump(mode="json", include={"training", "augment"})
        return {**sections, "pretrained": self.weights.pretrained, **self.plan.scientific()}


def short_name(name: str) -> str:
    """Give the short name of a backbone that has one, also where more follows behind a dot."""
    backbone, dot, rest = name.partition(".")
    return {full: short for short, full in SHORT_NAMES.items()}.get(backbone, backbone) + dot + rest


def full_name(name: str) -> str:
    """Give timm's name for a short name, also where more follows behind a dot; any other name stays as it is."""
    backbone, dot, rest = name.partition(".")
    return SHORT_NAMES.get(backbone, backbone) + dot + rest


def network_name(backbone: str) -> str:
    """Give the network of a backbone, whether it is frozen or not."""
    return backbone.removesuffix(FROZEN)


def is_frozen(backbone: str) -> bool:
    """Whether a backbone is only to embed cells, as it comes."""
    return backbone.endswith(FROZEN)
