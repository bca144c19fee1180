#!/bin/sh
# Makes sure that this machine can build and run warmstart: cargo, a C linker (rustc calls `cc`),
# and a graphics adapter that wgpu can open. Every make target runs it first.
#
#   scripts/set-up.sh            says nothing when all is well
#   scripts/set-up.sh --verbose  says what it found
#   scripts/set-up.sh --lint     also makes sure of rustfmt and clippy
#
# On Debian and Ubuntu it installs what is missing through apt and says so. Elsewhere it prints the
# one command that does. WARMSTART_SET_UP=skip turns it off, for machines it does not understand.
set -u

verbose=no
lint=no
for argument in "$@"; do
    case $argument in
        --verbose) verbose=yes ;;
        --lint) lint=yes ;;
        *) echo "usage: scripts/set-up.sh [--verbose] [--lint]" >&2; exit 2 ;;
    esac
done

say() { echo "set-up: $*" >&2; }
found() { if [ "$verbose" = yes ]; then say "$*"; fi; }
stop() { say "$*"; exit 1; }

[ "${WARMSTART_SET_UP:-}" = skip ] && exit 0
# ldconfig lives here, which an ordinary user's PATH may lack.
PATH="$PATH:/sbin:/usr/sbin"
system=$(uname -s)

# The Vulkan loader prints a line when this is unset. The Makefile points it into target/.
if [ -n "${XDG_RUNTIME_DIR:-}" ] && [ ! -d "$XDG_RUNTIME_DIR" ]; then
    mkdir -p "$XDG_RUNTIME_DIR" && chmod 700 "$XDG_RUNTIME_DIR"
fi

# --- what system is this -------------------------------------------------------------------------

# The distribution's name followed by those it is like, such as "ubuntu debian".
distribution() {
    for file in /etc/os-release /usr/lib/os-release; do
        if [ -r "$file" ]; then
            # shellcheck disable=SC1090 # the file's place is the system's
            (ID=; ID_LIKE=; . "$file"; echo "$ID $ID_LIKE")
            return
        fi
    done
}

is_debian() {
    case " $(distribution) " in
        *" debian "* | *" ubuntu "*) command -v apt-get >/dev/null 2>&1 ;;
        *) false ;;
    esac
}

# install REASON PACKAGE...: with apt, saying so.
install() {
    reason=$1
    shift
    packages=$*
    by_hand="sudo apt-get update && sudo apt-get install -y $packages"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            stop "$reason. As root, run: apt-get update && apt-get install -y $packages"
        elif sudo -n true 2>/dev/null || [ -t 0 ]; then
            as_root=sudo
        else
            stop "$reason, and sudo asks for a password here. Run: $by_hand"
        fi
    fi
    say "$reason. Installing $packages through apt."
    log=$(mktemp) || exit 1
    # A package list that is absent or out of date shows as a failed install.
    if apt_get install || { apt_get update && apt_get install; }; then
        rm -f "$log"
    else
        cat "$log" >&2
        rm -f "$log"
        stop "apt could not install $packages. Once its error above is mended, run: $by_hand"
    fi
}

apt_get() {
    if [ "$1" = install ]; then
        # shellcheck disable=SC2086 # the packages are words
        set -- install -y --no-install-recommends $packages
    fi
    # shellcheck disable=SC2086 # empty as root
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 "$@" \
        >>"$log" 2>&1 </dev/null
}

# --- cargo and its tools -------------------------------------------------------------------------

if ! command -v cargo >/dev/null 2>&1; then
    stop "cargo is missing. Install Rust with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
fi
version=$(cargo --version)
found "$version"
needed=$(sed -n 's/^rust-version = "\([0-9]*\)\.\([0-9]*\).*/\1 \2/p' "$(dirname "$0")/../Cargo.toml")
older() { [ "$#" -eq 4 ] && { [ "$1" -lt "$3" ] || { [ "$1" -eq "$3" ] && [ "$2" -lt "$4" ]; }; }; }
# shellcheck disable=SC2046,SC2086 # the numbers are words
if older $(echo "$version" | sed -n 's/^cargo \([0-9]*\)\.\([0-9]*\).*/\1 \2/p') $needed; then
    reason="this is $version, and Rust $(echo "$needed" | tr ' ' .) or newer is needed"
    if command -v rustup >/dev/null 2>&1; then
        stop "$reason. Run: rustup update stable && rustup default stable"
    fi
    stop "$reason. Install it with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
fi

if [ "$lint" = yes ]; then
    for tool in fmt clippy; do
        cargo "$tool" --version >/dev/null 2>&1 && continue
        command -v rustup >/dev/null 2>&1 ||
            stop "cargo $tool is missing. Install your system's package of it, or Rust by https://rustup.rs"
        say "cargo $tool is missing. Adding rustfmt and clippy with rustup."
        rustup component add rustfmt clippy </dev/null || exit 1
    done
fi

# --- a linker ------------------------------------------------------------------------------------

case $system in
    MINGW* | MSYS* | CYGWIN* | Windows*) ;; # rustc finds the Visual Studio linker itself, or says so
    *)
        if ! command -v cc >/dev/null 2>&1; then
            reason="no C linker: rustc needs cc"
            if is_debian; then
                install "$reason" gcc libc6-dev
            else
                case " $system $(distribution) " in
                    *" Darwin "*) stop "$reason. Run: xcode-select --install" ;;
                    *" fedora "* | *" rhel "*) stop "$reason. Run: sudo dnf install -y gcc" ;;
                    *" arch "*) stop "$reason. Run: sudo pacman -S --needed gcc" ;;
                    *" alpine "*) stop "$reason. Run: sudo apk add gcc musl-dev" ;;
                    *" suse "*) stop "$reason. Run: sudo zypper install -y gcc" ;;
                    *) stop "$reason. Install gcc or clang with your system's package manager." ;;
                esac
            fi
        fi
        found "linker: $(command -v cc)"
        ;;
esac

# --- an adapter ----------------------------------------------------------------------------------

# Metal and DX12 come with the system; only Vulkan needs a loader and a driver installed.
case $system in
    Linux | FreeBSD) ;;
    *) found "adapter: Metal or DX12 comes with the system"; exit 0 ;;
esac

vulkan_loader() {
    ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' && return
    IFS=:
    for folder in ${LD_LIBRARY_PATH:-} /usr/lib /usr/lib64 /usr/local/lib /lib; do
        [ -e "$folder/libvulkan.so.1" ] && { unset IFS; return; }
    done
    unset IFS
    false
}

# usable FILE: whether this driver manifest can yield an adapter. Packages and container images bring
# the manifests of many vendors to machines that have none of their hardware.
usable() {
    [ -f "$1" ] && [ -r "$1" ] || return
    case ${1##*/} in
        *lvp* | *swiftshader*) ;; # software
        *nvidia*) [ -e /dev/nvidiactl ] || [ -e /dev/dxg ] || [ -d /sys/module/nvidia ] ;;
        *dzn*) [ -e /dev/dxg ] ;;
        *) has_render_node ;;
    esac
}

has_render_node() {
    for node in /dev/dri/renderD*; do
        [ -e "$node" ] && return
    done
    false
}

# Prints the folders, separated by colons, in whose vulkan/icd.d the Vulkan loader looks.
folders() {
    home=${HOME:-/nonexistent}
    echo "${XDG_CONFIG_HOME:-$home/.config}:${XDG_CONFIG_DIRS:-/etc/xdg}:/usr/local/etc:/etc:\
${XDG_DATA_HOME:-$home/.local/share}:${XDG_DATA_DIRS:-/usr/local/share:/usr/share}:\
/usr/local/share:/usr/share:/run/opengl-driver/share"
}

# Prints the first usable driver manifest, in the places where the Vulkan loader looks.
vulkan_driver() {
    given=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}
    IFS=:
    if [ -n "$given" ]; then
        for file in $given; do
            usable "$file" && { echo "$file"; break; }
        done
    else
        for base in $(folders); do
            for file in "$base"/vulkan/icd.d/*.json; do
                usable "$file" && { echo "$file"; break 2; }
            done
        done
    fi
    unset IFS
}

driver=$(vulkan_driver)
if vulkan_loader && [ -n "$driver" ]; then
    found "adapter: Vulkan driver $driver"
    exit 0
fi

reason="no Vulkan adapter found"
if [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ] && [ -z "$driver" ]; then
    stop "$reason: VK_DRIVER_FILES or VK_ICD_FILENAMES names no driver that is there and has its hardware. Unset it to let the loader look, or set WARMSTART_SET_UP=skip if it does work."
elif is_debian; then
    install "$reason" mesa-vulkan-drivers libvulkan1
    driver=$(vulkan_driver)
    if ! vulkan_loader || [ -z "$driver" ]; then
        say "$reason, although mesa-vulkan-drivers and libvulkan1 are installed."
        vulkan_loader || say "The loader libvulkan.so.1 is neither known to ldconfig nor in LD_LIBRARY_PATH."
        [ -n "$driver" ] ||
            say "No driver manifest (vulkan/icd.d/*.json) whose hardware is here, nor lavapipe's, is in: $(folders)"
        say "Install them anew: sudo apt-get install --reinstall mesa-vulkan-drivers libvulkan1"
        say "See what the loader sees: vulkaninfo --summary (package vulkan-tools)"
        stop "If there is an adapter all the same, skip these checks: WARMSTART_SET_UP=skip make"
    fi
    found "adapter: Vulkan driver $driver"
else
    case " $(distribution) " in
        *" fedora "* | *" rhel "*)
            stop "$reason. Run: sudo dnf install -y mesa-vulkan-drivers vulkan-loader" ;;
        *" arch "*) stop "$reason. Run: sudo pacman -S --needed vulkan-swrast vulkan-icd-loader" ;;
        *" alpine "*) stop "$reason. Run: sudo apk add mesa-vulkan-swrast vulkan-loader" ;;
        *" suse "*) stop "$reason. Run: sudo zypper install -y libvulkan_lvp libvulkan1" ;;
        *)
            stop "$reason. Install the Vulkan loader and a driver (Mesa has a software one, lavapipe), or set WARMSTART_SET_UP=skip if there is one." ;;
    esac
fi
