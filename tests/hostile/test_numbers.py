"""Numbers that no option takes: infinite, not a number, negative, zero, or text. Each is one line."""

from pathlib import Path

import pytest
from hostile_case import Case, Places, check, refused, unread

COUNTS = ("0", "-1", "1.5", "inf", "many")
POSITIVE = ("0", "-1", "inf", "nan")
NOT_NEGATIVE = ("-1", "inf", "nan", "much")
SHARE = ("-0.1", "1.1", "inf", "nan")

OPTIONS = [
    ("augment synthesize", "--shots", COUNTS),
    ("augment synthesize", "--per_class", COUNTS),
    ("augment synthesize", "--batch_size", ("0", "-1", "1.5")),
    ("augment synthesize", "--seed", ("-1", "0.5", "nan")),
    ("augment synthesize", "--data.mixing.concentration", POSITIVE),
    ("augment synthesize", "--data.mixing.sources", ("0", "-1", "2.5")),
    ("augment synthesize", "--data.plan.shard_size", COUNTS),
    ("augment synthesize", "--model.steps", COUNTS),
    ("augment synthesize", "--model.guidance", NOT_NEGATIVE),
    ("augment synthesize", "--model.sampler.eta", SHARE),
    ("augment invert", "--model.inversion.steps", COUNTS),
    ("augment invert", "--model.inversion.guidance", NOT_NEGATIVE),
    ("augment invert", "--model.inversion.tolerance", NOT_NEGATIVE),
    ("augment invert", "--model.inversion.warn_psnr", ("inf", "nan")),
    ("augment invert", "--model.inversion.iterations", ("0", "-1", "inf")),
    ("augment pretrain", "--model.denoiser_lr", POSITIVE),
    ("augment pretrain", "--model.autoencoder_lr", ("inf", "nan")),
    ("augment pretrain", "--model.kl_weight", NOT_NEGATIVE),
    ("augment pretrain", "--model.prompt_dropout", SHARE),
    ("augment pretrain", "--data.jitter", NOT_NEGATIVE),
    ("augment pretrain", "--data.batch_size", COUNTS),
    ("augment pretrain", "--checkpoint_every", COUNTS),
    ("augment pretrain", "--trainer.gradient_clip_val", (".inf", ".nan")),
    ("augment explore strip", "--strip.perturbation", NOT_NEGATIVE),
    ("augment explore bias", "--bias.perturbation", ("inf", "nan")),
    ("augment explore bias", "--bias.draws", ("0", "-1")),
    ("augment explore std", "--std.scales", ("[inf]", "[0]", "[-1]")),
    ("augment explore offset", "--offset.offsets", ("[nan]", "[inf]", "[-1]")),
    ("augment explore strip", "--strip.counts", ("[0]", "[-1]", "[inf]")),
    ("augment explore all", "--shots", ("0", "nan")),
    ("augment explore all", "--batch_size", ("0", "-1")),
    ("classify fit", "--model.lr", POSITIVE),
    ("classify fit", "--model.weight_decay", NOT_NEGATIVE),
    ("classify fit", "--model.label_smoothing", SHARE),
    ("classify fit", "--model.drop_rate", SHARE),
    ("classify fit", "--model.warmup_steps", ("-1", "inf")),
    ("classify fit", "--data.shots", ("0", "-1", "inf")),
    ("classify fit", "--data.batches.mixup", NOT_NEGATIVE),
    ("classify fit", "--data.batches.cutmix", NOT_NEGATIVE),
    ("classify fit", "--data.batches.cache_gib", POSITIVE),
    ("classify fit", "--data.batches.synthetic_fraction", SHARE),
    ("classify fit", "--data.batches.hflip", SHARE),
    ("classify fit", "--data.batches.color_jitter", SHARE),
    ("classify fit", "--data.batches.batch_size", COUNTS),
    ("classify fit", "--data.batches.image_size", COUNTS),
    ("classify fit", "--data.batches.workers", ("-1", "inf")),
    ("classify fit", "--data.batches.crop_scale", ("[0.1, inf]", "[.nan, 1]", "[1]")),
    ("classify fit", "--data.batches.crop_ratio", ("[1, .inf]", "[nan, 1]", "[1, 1, 1]")),
    ("classify study", "--seeds", COUNTS),
    ("classify study", "--steps", ("0", "-1", "inf")),
    ("classify study", "--shots", ("[0]", "[-1]", "[inf]")),
    ("classify study", "--threads", ("0", "-1", "inf")),
    ("classify study", "--devices", ("0", "-1", "nan")),
    ("classify study", "--mixing.concentration", POSITIVE),
    ("classify study", "--plan.per_class", ("0", "-1")),
    ("classify study", "--batches.mixup", ("inf", "nan")),
    ("classify study", "--synthesizer.steps", ("0", "inf")),
    ("classify study", "--synthesizer.guidance", ("inf", "nan")),
]


def typed(command: str, option: str, value: str) -> Case:
    """A value that the option's type refuses: the line names the option, by the last part of its name at least."""
    return unread(f"{command} ${command.split()[1]} {option} '{value}'", option.removeprefix("--").split(".")[-1])


FOUND_LATER = [
    *[
        refused(f"{command} {option}", "trainer: ", word)
        for command in ("augment synthesize $synthesize", "augment pretrain $pretrain", "classify fit $fit")
        for option, word in (
            ("--trainer.devices foo", "--devices"),
            ("--trainer.devices -1", "--devices"),
            ("--trainer.devices '[0, 0]'", "--devices"),
            ("--trainer.devices 0", "devices='0'"),
            ("--trainer.accelerator foo", "'foo'"),
            ("--trainer.strategy foo", "'foo'"),
            ("--trainer.num_nodes 0", "--trainer.num_nodes"),
        )
    ],
    refused("augment invert $synthesize --trainer.devices foo", "trainer: --devices"),
    refused("classify fit $fit --trainer.max_steps 0", "trainer.max_steps: 0", "at least 1"),
    refused("classify fit $fit --trainer.max_steps -1", "trainer.max_steps: -1", "at least 1"),
    refused("classify fit $fit --trainer.max_steps -2", "trainer: ", "--steps", "-2"),
    refused("classify fit $fit --trainer.limit_train_batches 0", "trainer.limit_train_batches: 0"),
    refused("classify fit $fit --trainer.limit_test_batches 0", "trainer.limit_test_batches: 0"),
    refused("classify fit $fit --trainer.max_time 00:00:00:00", "trainer.max_time: 0 seconds"),
    refused("classify fit $fit --trainer.callbacks Timer --trainer.callbacks.duration 00:00:00:00", "max_time: 0"),
    *[
        refused(
            f"{command} --trainer.callbacks Timer --trainer.callbacks.duration 1",
            "trainer.callbacks: `Timer(duration='1')` is not a valid duration. Expected a string in the format DD:",
        )
        for command in ("augment pretrain $pretrain", "classify fit $fit")
    ],
    refused("augment pretrain $pretrain --trainer.max_time 00:00:00:00", "trainer.max_time: 0 seconds"),
    refused("augment invert $synthesize --check --check_steps []", "check_steps: an empty list"),
    refused("classify fit $fit --trainer.max_epochs 0", "trainer.max_epochs: 0"),
    refused("classify fit $fit --trainer.fast_dev_run true", "trainer.fast_dev_run"),
    refused("classify fit $fit --data.batches.crop_scale '[1, 0.5]'", "batches.crop_scale", "rise"),
    refused("classify fit $fit --data.batches.crop_ratio '[0, 1]'", "batches.crop_ratio", "rise"),
    refused("augment pretrain $pretrain --trainer.max_steps 0", "trainer.max_steps"),
    refused("augment pretrain $pretrain --trainer.max_steps -1", "trainer.max_steps"),
    refused("augment pretrain $pretrain --trainer.limit_train_batches 0", "trainer.limit_train_batches: 0"),
    refused("augment pretrain $pretrain --trainer.max_epochs 0", "trainer.max_epochs: 0"),
    refused("classify study $study --threads 1000000", "threads: 1000000", "1024"),
    refused("classify study $study --devices 1000000", "devices: 1000000", "1024"),
    refused("classify study $study --shots []", "shots: no number"),
    refused("classify study $study --methods []", "methods: no row", "fix/0"),
    refused("classify study $study --extractor []", "extractor: []"),
    refused("classify study $study --methods '[none, {method: fix/0, shots: []}]'", "row 'fix/0'", "empty"),
    refused("classify study $study --methods '[none, {method: fix/0, shots: [7]}]'", "row 'fix/0'", "7"),
    refused("classify study $study --methods '[none, {method: fix/0, plan: {per_class: 0}}]'", "per_class"),
    refused("classify study $study --methods '[none, {method: fix/0, mixing: {concentration: inf}}]'", "concentration"),
    refused("classify study $study --classifiers.resnet.shots []", "'resnet'", "empty"),
    refused("classify study $study --classifiers.resnet.lr inf", "lr"),
    refused("augment synthesize $synthesize --classes []", "classes: an empty list"),
    refused("augment synthesize $synthesize --shots 1000", "shots: class 'blue sky' has 5 images"),
    refused("augment synthesize $synthesize --method sdedit --data.settings.strength 0", "settings.strength: 0"),
    refused("augment synthesize $synthesize --method sdedit --data.settings.strength 2", "strength", "2"),
    refused("augment synthesize $synthesize --method sdedit --data.settings.strength []", "settings.strength"),
    refused("augment synthesize $synthesize --method diff-mix --data.settings.gamma inf", "gamma", "inf"),
    refused("augment synthesize $synthesize --method tint --data.settings.blend 7", "blend", "7"),
    refused("augment synthesize $synthesize --model.sampler.guidance_interval '[1, 0]'", "guidance_interval"),
    refused("augment synthesize $synthesize --model.backbone.resolution 0", "resolution", "0"),
    refused("augment synthesize $synthesize --method slerp --data.mixing.sources 5", "mixing.sources: 5", "takes 2"),
    refused("augment synthesize $synthesize --method circle --data.mixing.sources 1", "mixing.sources: 1", "takes 2"),
    refused("augment synthesize $synthesize --method copy --data.mixing.sources 2", "mixing.sources: 2", "takes 1"),
    refused("augment synthesize $synthesize --method text2img --data.mixing.sources 3", "mixing.sources: 3", "takes 0"),
    refused("augment synthesize $synthesize --data.mixing.sources 4", "mixing.sources: 4", "3 shots"),
    *[
        refused(f"augment explore {figure} $explore --{figure}.{option} []", f"{figure}.{option}: an empty list")
        for figure, option in (
            ("std", "scales"),
            ("strip", "counts"),
            ("strip", "methods"),
            ("bias", "counts"),
            ("offset", "offsets"),
            ("quality", "counts"),
            ("quality", "methods"),
        )
    ],
]

CASES = [typed(command, option, value) for command, option, values in OPTIONS for value in values] + FOUND_LATER


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_line(case: Case, places: Places, tmp_path: Path) -> None:
    check(case, places, tmp_path)
