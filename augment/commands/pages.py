"""The pages of `augment`: what each command says first, and its options without a dot."""

from augment.commands.common_options import (
    BACKBONE,
    CONFIG,
    DEVICES,
    GUIDANCE,
    IMAGES,
    OF_A_DATASET,
    OF_A_RUN,
    PROMPTS,
    PUSHED,
    RARE,
    SEED,
    SHOTS,
    SKIP_BAD,
    STEPS,
    TUNED,
    of_a_push,
    with_tests,
)
from augment.commands.page import Option, Page
from augment.commands.presets import for_pretrain, for_synthesizer, for_tuner

SYNTHESIZE = Page(
    "augment synthesize",
    "Turn a few images per class into a labelled synthetic dataset. Run again, it goes on where it stopped.",
    (
        "augment synthesize --output runs/digits",
        "augment synthesize --images data/train --backbone sd15 --output datasets/mine",
    ),
    {
        "images and model": (*IMAGES, BACKBONE, TUNED, *PROMPTS, STEPS, GUIDANCE),
        "dataset": (
            Option("output", "Folder of the dataset.", "required"),
            *OF_A_DATASET,
            Option("per_class", "Synthetic images per class; a dataset may grow.", "100"),
            SHOTS,
            SEED,
            Option("overwrite", "Delete another dataset in the output folder.", rare=True),
        ),
        "the run": (
            Option("batch_size", "Images at a time, or auto.", "backbone's"),
            Option("dry_run", "Print what it would cost, and write nothing."),
            *OF_A_RUN,
        ),
    },
    source="data.source",
    first=for_synthesizer,
)

INVERT = Page(
    "augment invert",
    "Bring the few-shot images into the model's noise space and report how well they come back.",
    (
        "augment invert --images data/train --backbone sd15 --output runs/invert",
        "augment invert --images data/train --backbone sd15 --output runs/check --check",
    ),
    {
        "images and model": (*IMAGES, BACKBONE, TUNED, *PROMPTS, STEPS, GUIDANCE),
        "the run": (
            Option("output", "Folder to write to; the latents go to `bank` beside it.", "required"),
            Option("check", "Compare all kinds of inversion on these images: a table and a figure."),
            Option("check_steps", "Numbers of steps that --check tries.", "the inversion's own", many=True),
            Option(
                "check_forward_steps", "Numbers of first steps that --check replaces by noise.", many=True, rare=True
            ),
            SHOTS,
            SEED,
            *OF_A_DATASET,
            Option("per_class", rare=True),
            Option("batch_size", "Images made at a time.", rare=True),
            Option("overwrite", rare=True),
            *OF_A_RUN,
        ),
    },
    source="data.source",
    first=for_synthesizer,
)

PRETRAIN = Page(
    "augment pretrain",
    "Train a small diffusion model on your own images, to be used as --backbone OUTPUT/model.",
    (
        "augment pretrain --images data/train --output runs/pretrain --minutes 60",
        "augment pretrain --config configs/pretrain/digits.yaml",
    ),
    {
        "images": with_tests("The test images, in the same way; for the model card alone."),
        "the run": (
            Option("output", "Folder to write to; the model is in its folder `model`.", "required"),
            Option("image_size", "Height and width in pixels.", "32", "model.init_args.image_size"),
            Option("prompt", "The one prompt that every image is trained with.", "an image", "model.init_args.prompt"),
            Option("steps", "Optimizer steps.", "or --minutes", "trainer.max_steps"),
            Option("minutes", "Train for about so long: a stretch is timed and the steps chosen."),
            Option("dry_run", "Time a stretch, print what the run would take, and write nothing."),
            Option("batch_size", "Images in an optimizer step.", "64", "data.batch_size"),
            Option("seed", "Draws weights and noise.", "0", "seed_everything"),
            Option("seed_everything", rare=True),
            DEVICES,
            Option("checkpoint_every", "Steps between checkpoints, the most that a kill can lose.", "500, or a tenth"),
            Option(
                "autoencoder", "Folder of a model whose autoencoder is used again.", sets="model.init_args.autoencoder"
            ),
            Option("skip_bad", "Pass over images that cannot be read.", sets="data.skip_bad", value="true"),
            Option("logger", rare=True),
            Option("model", rare=True),
            Option("data", rare=True),
            CONFIG,
        ),
    },
    source="data.source",
    first=for_pretrain,
)

TUNE = Page(
    "augment tune",
    "Fit a backbone to a few images per class, to be used as --tuned OUTPUT. Run again, it goes on where it stopped.",
    (
        "augment tune --images data/train --backbone sd15 --output tuned/mine",
        "augment tune --output tuned/digits",
    ),
    {
        "images and model": (
            *IMAGES,
            BACKBONE,
            Option(
                "prompt", "With {class} for the name, or {token} for a new word.", "backbone's", "model.tuning.prompt"
            ),
            Option("shots", "Real images per class that may be used.", "5", "data.shots"),
            Option("classes", "Tune on images of these classes only.", "all", "data.classes", many=True, rare=True),
            Option("crop", "Random crops keep at least this share of a side.", "1", "model.tuning.crop"),
            Option("flip", "Mirror every other image.", sets="model.tuning.flip", value="true"),
        ),
        "what is trained": (
            Option("scope", "Tune all classes together (set), or each apart (class).", "set", "model.tuning.scope"),
            Option("rank", "Rank of the LoRA weights.", "16", "model.tuning.lora.rank"),
            Option("layers", "Of attention, or all.", "attention", "model.tuning.lora.layers", rare=True),
            Option("text_encoders", "Train CLIP's too.", sets="model.tuning.lora.text_encoders", value="true"),
            Option("prior_images", "Images per class that must not be forgotten.", "0", "model.tuning.prior_images"),
        ),
        "the run": (
            Option("output", "Folder to write to.", "required"),
            Option("steps", "Optimizer steps.", "500", "model.tuning.steps"),
            Option("batch_size", "Images in a step, on each device.", "4", "model.tuning.batch_size"),
            Option("lr", "Peak learning rate of the LoRA weights.", "0.0001", "model.tuning.lr"),
            Option("precision", "fp32, tf32, bf16 or fp16.", "fp32", "model.precision"),
            Option("seed", "Chooses the real images; draws weights and noise.", "0"),
            DEVICES,
            Option("dry_run", "Time some steps, print what it would take, and write nothing."),
            Option("checkpoint_every", "Steps between checkpoints, the most that a kill can lose.", "100"),
            Option("gradient_checkpointing", sets="model.gradient_checkpointing", value="true", rare=True),
            Option("skip_bad", rare=True, sets="data.skip_bad", value="true"),
            Option("logger", rare=True),
            *RARE,
        ),
    },
    source="data.source",
    first=for_tuner,
)

EXPLORE = Page(
    "augment explore",
    "Draw what interpolation does to a backbone: strips, paths, channel bias, films, and a gallery of them. "
    "WHAT is strip, bias, offset, quality, path2d, grid, morph, translate, text, score, std, or all.",
    (
        "augment explore all --output runs/explore",
        "augment explore bias --images data/train --backbone sd15 --output runs/explore",
    ),
    {
        "images and model": (*IMAGES, BACKBONE, TUNED, *PROMPTS, STEPS, GUIDANCE),
        "the run": (
            Option("output", "Folder to write to.", "required"),
            Option("shots", "The most real images per class.", "96"),
            Option("seed", "Chooses the real images, draws the noise and the subsets.", "0"),
            Option("batch_size", "Images at a time.", "backbone's"),
            Option("device", "Where the networks run: auto, cpu, cuda or mps.", "auto"),
            Option("extractor", "Measures distances: inception, digits, or a timm model.", "inception"),
            Option("extractor_weights", rare=True),
            Option("bank", "Folder of inverted latents.", rare=True),
            SKIP_BAD,
            CONFIG,
        ),
    },
    synopsis="WHAT [options]",
    source="source",
    first=for_synthesizer,
)

BROWSE = Page(
    "augment browse",
    "Write one page that shows a dataset: real and synthetic images, what each was made from, and the worst first.",
    ("augment browse datasets/mine",),
    {
        "options": (
            Option("output", "File to write.", "browse.html in the dataset's folder"),
            *IMAGES,
            Option("per_class", "Show at most so many synthetic images of each class.", "all"),
            Option("extractor", "Measures distance: none, digits, a timm model, local-dir:FOLDER.", "auto"),
            Option("extractor_weights", rare=True),
            Option("device", "Where the extractor runs: auto, cpu, cuda or mps.", "auto"),
        )
    },
    synopsis="DATASET [options]",
    source="source",
)

VERIFY = Page(
    "augment verify",
    "Check every shard of a dataset folder: hashes, samples and images.",
    ("augment verify datasets/mine",),
    {},
    synopsis="FOLDER",
)

PUSH = Page(
    "augment push",
    "Upload a dataset folder to the Hugging Face Hub, with a card.",
    ("augment push datasets/mine --repo USER/NAME --license cc-by-4.0",),
    of_a_push("cc-by-4.0"),
    synopsis=PUSHED,
)

BACKBONES = Page(
    "augment backbones",
    "List the presets of diffusion models: licence, download and memory.",
    ("augment backbones",),
    {},
    synopsis="",
)

PAGES = {
    "synthesize": SYNTHESIZE,
    "invert": INVERT,
    "browse": BROWSE,
    "verify": VERIFY,
    "push": PUSH,
    "pretrain": PRETRAIN,
    "tune": TUNE,
    "explore": EXPLORE,
    "backbones": BACKBONES,
}
