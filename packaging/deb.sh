#!/bin/sh
# Build the Debian package, in BUILD (build/deb), from a copy: nothing is left in the checkout.
set -eu
checkout=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$checkout/build/deb}

rm -rf "$build"
mkdir -p "$build/source"
build=$(cd "$build" && pwd)
cd "$checkout"
cp -R pyproject.toml README.md LICENSE CHANGELOG.md docs shaper shapecfg packaging "$build/source"
mv "$build/source/packaging/debian" "$build/source"
cd "$build/source"
dpkg-buildpackage --build=binary --no-sign >"$build/log" 2>&1 || {
    tail -n 40 "$build/log" >&2
    exit 1
}
rm -rf "$build/source"
echo "built $(ls "$build"/*.deb)"
