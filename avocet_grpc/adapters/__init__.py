"""Files of other programs that the core reads through a port: the benchmark runs and the config file.

Owns
    The directories of benchmark runs, and `label_tool.yaml`, which the legacy app reads and writes too. The two shared
    JSONL files are not here: they belong to the mirror.

May import
    `core`, `durable`, `foreign_files`; PyYAML and ruamel.yaml.

Reading order
    `bench_runs`    implements `core.ports.runs.Runs`
    `config_file`   implements `core.ports.config.ConfigFile`
    `rewriting`     reading and replacing a file that another program may write at that moment

Rules
    - Whatever another program wrote may be wrong, huge, or a pipe: `foreign_files` reads it within bounds.
    - Changing one key of the config file leaves comments, order, other sections and the file's mode as they are.
"""
