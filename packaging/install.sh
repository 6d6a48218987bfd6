#!/bin/sh
# Install the daemon, the command and the service: PREFIX and DESTDIR as usual, PYTHON to choose
# the interpreter. The installation is a virtual environment of its own with nothing in it but
# what runs; it can be repeated, and replaces the one before. RESTART=yes restarts a running service.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(dirname "$here")
. "$here/paths.sh"

# Print the real path of an interpreter, not of a virtual environment around it.
interpreter() {
    "$1" -c 'import os, sys, venv
sys.version_info >= (3, 11) or sys.exit(1)
print(os.path.realpath(sys._base_executable))' 2>/dev/null
}

# ProtectHome= hides home directories from the service, so an interpreter there is none.
choose_python() {
    for candidate in "${PYTHON:-python3}" /usr/bin/python3 /usr/local/bin/python3; do
        found=$(interpreter "$candidate") || continue
        case $found in
            /root/* | /home/* | /run/user/*) continue ;;
        esac
        echo "$found"
        return
    done
    echo "no Python >= 3.11 with venv outside home directories: set PYTHON" >&2
    return 1
}

# Build the environment in $work/env from a copy: nothing stale in the checkout gets in, and
# nothing is left in it.
build() {
    mkdir "$work/source"
    (cd "$checkout" && cp -R pyproject.toml README.md LICENSE shaper shapecfg "$work/source")
    "$python" -m venv "$work/env"
    PIP_RETRIES=${PIP_RETRIES:-1} "$work/env/bin/pip" install --quiet --no-compile \
        "$work/source[metrics]" || tell_what_is_missing
    "$work/env/bin/pip" uninstall --quiet --yes setuptools pip 2>/dev/null
}

tell_what_is_missing() {
    echo "the libraries could not be fetched: a package index has to be in reach (PIP_INDEX_URL), or" >&2
    echo "wheels in a directory (PIP_NO_INDEX=1 PIP_FIND_LINKS=...). The Debian package needs neither." >&2
    exit 1
}

# Make the environment one that was always at $home. -I: a root shell's PYTHONPATH does not count.
settle() {
    find "$work/env/bin" -type f ! -name shaperd ! -name shapecfg -delete
    sed -i "1s|.*|#!$home/bin/python3 -I|" "$work/env/bin/shaperd" "$work/env/bin/shapecfg"
    sed -i '/^command = /d' "$work/env/pyvenv.cfg"
    # These, and the digests of programs, tell the temporary directory.
    find "$work/env" -name direct_url.json -delete
    find "$work/env" -name RECORD -exec sed -i '\|^\.\./\.\./\.\./bin/|d; /\/direct_url\.json,/d' {} +
    find "$work/env" -name __pycache__ -type d -prune -exec rm -rf {} +
    "$python" -m compileall -q -s "$work/env" -p "$home" "$work/env/lib"
}

# A directory of that name that is not ours is left alone.
check_home() {
    if [ -e "$root$home" ] && [ ! -e "$root$home/bin/shaperd" ]; then
        echo "$root$home exists and is no installation of shaper: choose another PREFIX" >&2
        exit 1
    fi
}

# Swap it in by renaming: an installation that fails half-way leaves the old one.
replace() {
    mkdir -p "$root$prefix/lib"
    rm -rf "$root$home.new"
    cp -Rp "$work/env" "$root$home.new"
    rm -rf "$root$home"
    mv "$root$home.new" "$root$home"
}

link() {
    mkdir -p "$(dirname "$root$2")"
    ln -sfn "$1" "$root$2"
}

put() {
    mkdir -p "$(dirname "$root$2")"
    sed "s|@PREFIX@|$prefix|g" "$here/$1" >"$root$2"
}

install_documents() {
    rm -rf "$root$documents"
    mkdir -p "$root$documents/docs"
    cp "$checkout"/README.md "$checkout"/CHANGELOG.md "$checkout"/LICENSE "$root$documents"
    cp -R "$checkout"/docs/*.md "$checkout"/docs/*.svg "$checkout"/docs/*.yml "$checkout"/docs/*.json \
        "$checkout"/docs/*.varlink "$checkout"/docs/*.csv \
        "$checkout"/docs/benchmarks "$root$documents/docs"
}

# What is made of the command's own words. -B: nothing is left in the checkout.
install_pages() {
    "$work/env/bin/python3" -I -B "$here/manual" "$root$pages"
    complete bash "$completion_bash"
    complete zsh "$completion_zsh"
    complete fish "$completion_fish"
}

complete() {
    mkdir -p "$(dirname "$root$2")"
    _SHAPECFG_COMPLETE=$1_source "$work/env/bin/python3" -I -B -c \
        'import sys; from shapecfg.cli import main; sys.argv[:] = ["shapecfg"]; main()' >"$root$2"
}

tell_systemd() {
    systemd-sysusers "$sysusers"
    systemd-tmpfiles --create "$tmpfiles"
    systemctl daemon-reload
}

check_home
python=$(choose_python)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build
settle
replace
link ../lib/shaper/bin/shaperd "$daemon"
link ../lib/shaper/bin/shapecfg "$command"
put shaper.service "$service"
put shaper-withdraw.service "$withdrawal"
put sysusers.conf "$sysusers"
put tmpfiles.conf "$tmpfiles"
put modules-load.conf "$modules"
install_documents
install_pages

# What runs is still the program before: a restart changes to the new one without a gap.
tell_how_to_start() {
    echo "installed below $prefix"
    if ! systemctl --quiet is-active shaper; then
        echo "start it with: systemctl enable --now shaper"
    elif [ "${RESTART:-no}" = yes ]; then
        systemctl restart shaper
        echo "shaper was restarted, and the new program runs"
    else
        echo "the program before this one still runs; change to the new one, without a gap, with:"
        echo "systemctl restart shaper   (or at once: make install RESTART=yes)"
    fi
}

if has_systemd; then
    tell_systemd
    tell_how_to_start
else
    echo "installed below $root$prefix; there, run systemd-sysusers, systemd-tmpfiles --create and"
    echo "systemctl daemon-reload, or boot; then: systemctl enable --now shaper"
fi
