"""Options that several commands of `augment` have, described once."""

from augment.commands.page import Option

IMAGES = (
    Option(
        "images",
        "A folder of class folders, or of files with --labels; hub:NAME; torchvision:NAME; shards; or digits.",
        "digits",
        also=("source", "source.path", "source.name", "data.source", "data.source.path"),
    ),
    Option("test_images", "The test images, in the same way.", rare=True, also=("source.test_path",)),
    Option(
        "labels",
        "A table of files and labels: CSV, JSON lines or Parquet.",
        rare=True,
        also=("source.labels",),
    ),
    Option("split", "The split that few-shot sets are chosen from.", rare=True, also=("source.split",)),
    Option("test_split", "The split of test images.", rare=True, also=("source.test_split",)),
    Option("image_column", "The column of the images.", rare=True, also=("source.image_column", "source.file_column")),
    Option("label_column", "The column of the labels.", rare=True, also=("source.label_column",)),
    Option("subset", "The configuration of a Hub data set that has several.", rare=True, also=("source.subset",)),
    Option("root", "The folder where torchvision keeps its data sets.", rare=True, also=("source.root",)),
)
BACKBONE = Option(
    "backbone",
    "The model: a preset (`augment backbones`), a name on the Hugging Face Hub, or a folder.",
    "digits",
    also=("backbone.model", "model.backbone", "model.backbone.model"),
)
TUNED = Option("tuned", "Folder of `augment tune`, whose backbone is used with what was learned.", "none")


def prompts(model: str) -> tuple[Option, ...]:
    """The options that say what the model is told.

    Args:
        model: Of the parser's option for the synthesizer, with a dot.
    """
    return (
        Option(
            "prompt", "The prompt, with {class} for the name; or a file of several.", "backbone's", f"{model}prompt"
        ),
        Option("contexts", "What may follow any prompt.", "none", f"{model}contexts", many=True, rare=True),
        Option(
            "inversion_prompt", "What real images are inverted with.", "first", f"{model}inversion_prompt", rare=True
        ),
    )


PROMPTS = prompts("model.")
STEPS = Option("steps", "Steps of the sampler and of the inversion.", "backbone's", "model.steps model.inversion.steps")
GUIDANCE = Option("guidance", "Strength of classifier-free guidance.", "backbone's", "model.guidance")
SHOTS = Option("shots", "Real images per class that may be used.", "5", also=("data.shots",))
SEED = Option("seed", "Chooses the real images and draws the mixtures.", "0", also=("data.seed",))
SKIP_BAD = Option("skip_bad", "Pass over images that cannot be read.")
DEVICES = Option("devices", "GPUs of this machine that share the work.", "1", "trainer.devices")
CONFIG = Option("config", rare=True)
RARE = (CONFIG, Option("seed_everything", rare=True))
OF_A_RUN = (
    DEVICES,
    SKIP_BAD,
    Option("profile", "Print where the seconds went.", rare=True),
    Option("compile", "Compile the denoiser: slow to start, then faster.", rare=True),
    Option("offload", "Keep networks in host memory while not in use.", rare=True),
    *RARE,
)
OF_A_DATASET = (
    Option("method", "NORM/MEAN of a mixture, or sdedit, text2img, ….", "nin/chm"),
    Option("classes", "The classes to make images of.", "all", many=True),
    Option("bank", "Folder of inverted latents.", "bank, beside the output", "data.bank", rare=True),
)
PUSHED = "FOLDER --repo NAME [options]"


def of_a_push(licence: str) -> dict[str, tuple[Option, ...]]:
    """The options of an upload.

    Args:
        licence: The example of one.
    """
    return {
        "options": (
            Option("repo", "Repository to upload to: NAME, or USER/NAME.", "required"),
            Option("public", "Make the repository public."),
            Option("license", f"The Hub's name of the licence, such as {licence}."),
        )
    }


def with_tests(text: str, default: str = "") -> tuple[Option, ...]:
    """The options for images, with the test images on the first screen."""
    tests = Option("test_images", text, default, also=("source.test_path",))
    return tuple(tests if option.name == "test_images" else option for option in IMAGES)
