#!/bin/sh
# Remove what install.sh put there, and nothing else.
set -eu
. "$(dirname "$0")/paths.sh"

if has_systemd && [ -e "$service" ]; then
    systemctl disable --quiet --now shaper.service
fi
# Only what is an installation of ours: a directory of that name could be anything.
if [ -e "$root$home/bin/shaperd" ]; then
    rm -rf "$root$home"
fi
rm -f "$root$daemon" "$root$command"
rm -f "$root$service" "$root$sysusers" "$root$tmpfiles" "$root$modules"
rm -rf "$root$manual"
if has_systemd; then
    systemctl daemon-reload
fi
echo "removed; kept: /etc/shaper (configuration), /var/lib/shaper (state), the user and group shaper"
