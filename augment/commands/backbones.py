"""What `augment backbones` does."""

from rich.table import Table

from augment.commands.presets import presets
from augment.runtime.terminal import PlainConsole


def backbones_command(args: list[str]) -> None:
    """List the presets."""
    table = Table(title="presets for --backbone", caption="sizes of the weights alone")
    table.add_column("name", no_wrap=True)
    table.add_column("what it is")
    table.add_column("licence")
    table.add_column("download", justify="right", no_wrap=True)
    table.add_column("memory", justify="right", no_wrap=True)
    for preset in presets().values():
        download = f"{preset.download_gb:g} GB" if preset.download_gb else "none"
        table.add_row(preset.name, preset.title, preset.license, download, f"{preset.memory_gb:g} GB")
    PlainConsole().print(table)
    print("--backbone also takes a name on the Hugging Face Hub (OWNER/NAME), or a folder in diffusers' format.")
