#!/bin/sh
# Remove what install.sh put there, and nothing else.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/paths.sh"

if has_systemd && [ -e "$service" ]; then
    systemctl disable --quiet --now shaper.service
fi
# Only what is an installation of ours: a directory of that name could be anything.
if [ -e "$root$home/bin/shaperd" ]; then
    rm -rf "$root$home"
fi
rm -f "$root$daemon" "$root$command"
rm -f "$root$service" "$root$withdrawal" "$root$sysusers" "$root$tmpfiles" "$root$modules"
rm -f "$root$completion_bash" "$root$completion_zsh" "$root$completion_fish"
for page in "$here"/manual/pages/*.md; do
    page=$(basename "$page" .md)
    rm -f "$root$pages/man${page##*.}/$page"
done
rm -rf "$root$documents"
if has_systemd; then
    systemctl daemon-reload
fi
echo "removed; kept: /etc/shaper (configuration), /var/lib/shaper (state), the user and group shaper"
