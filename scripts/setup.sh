#!/bin/sh
# Makes this checkout ready: a virtual environment in .venv with the pinned packages, and Java.
# Usage: scripts/setup.sh run|dev      (dev: also what tests and linters need, Chromium among it)
# What is already there is not done again, so it costs next to nothing the second time.
set -eu

cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
# Airflow and Spark run on these.
PYTHON_OLDEST=11
PYTHON_NEWEST=13
JAVA_OLDEST=17

say() { printf '%s\n' "→ $*" >&2; }
fail() { printf '%s\n' "error: $*" >&2; exit 1; }

may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# Install the first of these Debian packages that there is.
install_package() {
    apt-get update -qq >&2
    for package in "$@"; do
        if DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >&2; then
            return 0
        fi
    done
    return 1
}

python_minor() { "$1" -c 'import sys; print(sys.version_info.minor if sys.version_info.major == 3 else 0)' 2>/dev/null; }

find_python() {
    found=
    for candidate in python3.12 python3.11 python3.13 python3; do
        minor=$(python_minor "$candidate") || continue
        if [ "$minor" -ge $PYTHON_OLDEST ] && [ "$minor" -le $PYTHON_NEWEST ]; then
            command -v "$candidate"
            return 0
        fi
        found="$found $candidate is 3.$minor;"
    done
    fail "Python 3.$PYTHON_OLDEST to 3.$PYTHON_NEWEST is needed, and none is on PATH (${found:- no python3 at all;}" \
        "checked python3.12, python3.11, python3.13, python3). Install one, for example: apt-get install python3"
}

make_venv() {
    # A checkout that was moved or copied has a .venv that no longer runs.
    if [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null && [ -f .venv/complete ]; then
        return 0
    fi
    python=$(find_python)
    say "Making .venv with $python"
    rm -rf .venv
    if ! "$python" -m venv .venv >/dev/null 2>&1; then
        may_install || fail "$python cannot make a virtual environment. On Debian: apt-get install python3-venv"
        say "Installing python3-venv"
        rm -rf .venv
        install_package "python3.$(python_minor "$python")-venv" python3-venv || fail "python3-venv could not be installed"
        "$python" -m venv .venv
    fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" ||
        fail "pip cannot fetch uv: is the network there?"
    touch .venv/complete
}

# Install a compiled list of packages unless that very list is installed.
install_list() {
    stamp=.venv/installed-$1
    if [ -f "$stamp" ] && cmp -s "$1" "$stamp"; then
        return 0
    fi
    say "Installing the packages of $1 (the first time takes a minute or two)"
    # uv is the fast one; pip knows every configuration of this machine.
    [ -t 2 ] && quiet= || quiet=--quiet
    VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install $quiet --require-hashes --requirement "$1" ||
        .venv/bin/python -m pip install --disable-pip-version-check --require-hashes --requirement "$1" ||
        fail "the packages of $1 could not be installed; the reason stands above"
    cp "$1" "$stamp"
}

java_program() {
    if [ -n "${JAVA_HOME:-}" ]; then printf '%s' "$JAVA_HOME/bin/java"; else command -v java || true; fi
}

check_java() {
    java=$(java_program)
    if [ -z "$java" ]; then
        may_install || fail "Java $JAVA_OLDEST or newer is needed, and there is no java on PATH." \
            "Install it, for example: sudo apt-get install openjdk-$JAVA_OLDEST-jre-headless"
        say "Installing Java"
        install_package openjdk-17-jre-headless openjdk-21-jre-headless || fail "Java could not be installed"
        java=$(java_program)
    fi
    [ -x "$java" ] || fail "JAVA_HOME=$JAVA_HOME has no bin/java. Point it to a Java $JAVA_OLDEST, or unset it."
    # "17.0.15" is 17, "1.8.0_402" is 8.
    version=$("$java" -version 2>&1 | sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1)
    [ -n "$version" ] || fail "$java does not say which version it is. Java $JAVA_OLDEST or newer is needed."
    [ "$version" -ge $JAVA_OLDEST ] || fail "$java is Java $version, and $JAVA_OLDEST or newer is needed." \
        "Install it, for example: apt-get install openjdk-$JAVA_OLDEST-jre-headless, and point JAVA_HOME to it."
}

check_chromium() {
    if command -v chromium >/dev/null; then return 0; fi
    may_install || fail "The tests need the browser chromium, and there is none on PATH." \
        "Install it, for example: sudo apt-get install chromium"
    say "Installing Chromium"
    install_package chromium || fail "Chromium could not be installed"
}

case ${1:-} in
    run | dev) ;;
    *) fail "usage: scripts/setup.sh run|dev" ;;
esac
# First what costs nothing to find out.
check_java
make_venv
install_list requirements.txt
if [ "$1" = dev ]; then
    check_chromium
    install_list requirements-dev.txt
fi
