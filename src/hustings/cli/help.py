"""The text of --help. Hydra prints the same text from the same templates, but composes the config once per group."""

from string import Template

from hustings.configuration import Job, conf_folder


def help_of(job: Job) -> str:
    """The text that `--help` prints."""
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import get_args_parser
    from omegaconf import OmegaConf

    conf = conf_folder()
    templates = (
        OmegaConf.select(OmegaConf.load(conf / f"{name}.yaml"), "hydra.help.template") for name in (job, "base")
    )
    groups = {
        folder.name: sorted(option.stem for option in folder.glob("*.yaml"))
        for folder in sorted(conf.iterdir())
        if folder.is_dir()
    }
    return Template(next(filter(None, templates))).substitute(
        APP_CONFIG_GROUPS="".join(f"{group}: {', '.join(options)}\n" for group, options in groups.items()),
        FLAGS_HELP=Hydra.format_args_help(get_args_parser()),
    )
