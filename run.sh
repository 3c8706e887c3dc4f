#!/bin/sh
# Sets this clone up (first time: a few minutes; afterwards: at once), then runs one command in its environment.
#
#   ./run.sh all [--quick ...]    the whole study: scripts/run_all.py
#   ./run.sh test [...]           the tests, in three minutes
#   ./run.sh stress [--short]     kills, spoilt files, generated input: half an hour, or two minutes
#   ./run.sh COMMAND [...]        anything else, for example: ./run.sh python train.py --help
#
# Everything it installs stays in this folder: pipenv in .tools/, the project's environment in .venv/.
set -eu

cd "$(dirname "$0")"
if [ "$#" -eq 0 ]; then
    sed -n '2,9s/^# \{0,1\}//p' run.sh >&2
    exit 2
fi

PYTHON="${PYTHON:-python3}"
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "run.sh: needs Python 3.11 or later; '$PYTHON' is not. Set PYTHON=/path/to/python3.11 and run again." >&2
    exit 2
fi

export PIPENV_VENV_IN_PROJECT=1 PIPENV_IGNORE_VIRTUALENVS=1 PIPENV_VERBOSITY=-1
# Pipenv does not read pip's own setting for the folder that holds the CPU build of torch.
if [ -z "${PIP_FIND_LINKS:-}" ]; then
    links=$("$PYTHON" -m pip config get global.find-links 2>/dev/null || true)
    [ -z "$links" ] || export PIP_FIND_LINKS="$links"
fi

# The stamp holds the Pipfile that the environment was made from; it is written last, so a set-up that was
# interrupted is simply done again.
stamp=.venv/.made-from
if ! cmp -s Pipfile "$stamp"; then
    if ! .tools/pipenv/bin/pipenv --version >/dev/null 2>&1; then
        echo "run.sh: installing pipenv into .tools/" >&2
        "$PYTHON" -m venv --clear .tools/pipenv
        .tools/pipenv/bin/python -m pip install --quiet --disable-pip-version-check 'pipenv>=2024.1'
    fi
    echo "run.sh: installing the project's packages into .venv/ (a few minutes, once)" >&2
    # The full path: given a bare name, pipenv may pick another interpreter of the same name.
    .tools/pipenv/bin/pipenv --python "$("$PYTHON" -c 'import sys; print(sys.executable)')" install --dev --skip-lock >&2
    cp Pipfile "$stamp"
fi

exec .tools/pipenv/bin/pipenv run "$@"
