# Where everything goes; sourced by install.sh and uninstall.sh.

prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}

case $prefix in
    *[!A-Za-z0-9/._+-]* | [!/]*)
        echo "PREFIX=$prefix cannot be used: give an absolute path of plain characters" >&2
        exit 2
        ;;
esac

# systemd looks for units and their companions below these two and nowhere else.
case $prefix in
    /usr | /usr/local) units=$prefix/lib ;;
    *) units=/usr/local/lib ;;
esac

home=$prefix/lib/shaper
daemon=$prefix/sbin/shaperd
command=$prefix/bin/shapecfg
documents=$prefix/share/doc/shaper
pages=$prefix/share/man
completion_bash=$prefix/share/bash-completion/completions/shapecfg
completion_zsh=$prefix/share/zsh/site-functions/_shapecfg
completion_fish=$prefix/share/fish/vendor_completions.d/shapecfg.fish
service=$units/systemd/system/shaper.service
withdrawal=$units/systemd/system/shaper-withdraw.service
sysusers=$units/sysusers.d/shaper.conf
tmpfiles=$units/tmpfiles.d/shaper.conf
modules=$units/modules-load.d/shaper.conf

# A staged tree is for another machine: this one's systemd is told nothing.
has_systemd() {
    [ -z "$root" ] && [ -d /run/systemd/system ]
}
