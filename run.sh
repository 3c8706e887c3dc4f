#!/bin/sh
# Sets this clone up (first time: a few minutes; afterwards: at once), then runs one command in its environment.
#
#   ./run.sh all [--quick ...]    the whole study: scripts/run_all.py
#   ./run.sh tour                 90 seconds: train a small pair, watch the state, steer it
#   ./run.sh test [...]           the tests, in about four minutes
#   ./run.sh stress [--short]     kills, spoilt files, generated input: half an hour, or two minutes
#   ./run.sh COMMAND [...]        anything else, for example: ./run.sh python train.py --help
#
# Everything it installs stays in this folder: pipenv in .tools/, the project's environment in .venv/. It can be called from
# anywhere, through a link too: paths are the caller's. A clone that was moved, or whose Python is gone, is set up again.
set -eu

if [ "$#" -eq 0 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi

script=$0
while [ -L "$script" ]; do
    target=$(readlink "$script")
    case $target in
        /*) script=$target ;;
        *) script=$(dirname "$script")/$target ;;
    esac
done
here=$(CDPATH='' cd -- "$(dirname -- "$script")" && pwd -P)

PYTHON="${PYTHON:-python3}"
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "run.sh: needs Python 3.11 or later; '$PYTHON' is not. Set PYTHON=/path/to/python3.11 and run again." >&2
    exit 2
fi
python=$("$PYTHON" -c 'import sys; print(sys.executable)')

# Settings meant for other projects' tools would send packages elsewhere, or stop pip.
unset PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV PIPENV_PIPFILE PYTHONHOME PYTHONUSERBASE VIRTUAL_ENV || true
export PIPENV_VENV_IN_PROJECT=1 PIPENV_IGNORE_VIRTUALENVS=1 PIPENV_VERBOSITY=-1 PIPENV_PIPFILE="$here/Pipfile"
# Pipenv does not read pip's own setting for the folder that holds the CPU build of torch.
if [ -z "${PIP_FIND_LINKS:-}" ]; then
    links=$("$PYTHON" -m pip config get global.find-links 2>/dev/null || true)
    [ -z "$links" ] || export PIP_FIND_LINKS="$links"
fi

# The stamp holds what the environment was made from: the Pipfile, the interpreter and the place. It is written last, so a
# set-up that was interrupted is simply done again.
stamp=$here/.venv/.made-from
made_from() {
    echo "$python in $here"
    cat "$here/Pipfile"
}
if ! made_from | cmp -s - "$stamp" || ! "$here/.venv/bin/python" -c '' 2>/dev/null; then
    [ ! -L "$here/.venv" ] || rm "$here/.venv" # what it leads to is another clone's
    rm -f "$stamp"
    if ! "$here/.tools/pipenv/bin/pipenv" --version >/dev/null 2>&1; then
        echo "run.sh: installing pipenv into .tools/" >&2
        "$PYTHON" -m venv --clear "$here/.tools/pipenv"
        "$here/.tools/pipenv/bin/python" -m pip install --quiet --disable-pip-version-check 'pipenv>=2024.1'
    fi
    echo "run.sh: installing the project's packages into .venv/ (a few minutes, once)" >&2
    # A moved environment's commands lead to where it was. The full path: given a bare name, pipenv may pick another one.
    rm -rf "$here/.venv"
    (cd "$here" && .tools/pipenv/bin/pipenv --python "$python" install --dev --skip-lock >&2)
    made_from >"$stamp"
fi

# What has a name in the Pipfile and works on the clone itself runs there; the rest where the caller stands.
case $1 in
    test | stress | lint | format-check | types) cd "$here" ;;
esac
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
exec "$here/.tools/pipenv/bin/pipenv" run "$@"
