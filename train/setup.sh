#!/usr/bin/env bash
# Brings what a bare Debian or Ubuntu machine lacks: npm packages; a Vulkan driver that Dawn accepts, when there is no GPU;
# ffmpeg, when ffmpeg-static could not be downloaded; Chromium, for the browser tests (DIPTYCH_SKIP_CHROMIUM=1 leaves it).
# Says what it does and does nothing twice. What it cannot install it names. Fails only if the npm part does.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

say() { printf 'setup: %s\n' "$*"; }
left=()
# cannot NAME WHAT-TO-DO: keeps for the end what a person has to install.
cannot() { left+=("$1: $2"); }

# ---- Node ---------------------------------------------------------------------------------------------------------------

node_major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
if [ "$node_major" -lt 20 ] || ! command -v npm >/dev/null; then
  say "Node 20 or newer with npm is needed; found: $(node --version 2>/dev/null || echo 'no node')$(command -v npm >/dev/null || echo ', no npm')."
  say 'The package of Debian 12 and Ubuntu 24.04 is older. Either of these brings it:'
  say '  curl -fsSL https://deb.nodesource.com/setup_22.x | sudo bash - && sudo apt-get install -y nodejs'
  say '  curl -fsSL https://raw.githubusercontent.com/nvm-sh/nvm/v0.40.3/install.sh | bash, then in a new shell: nvm install 22'
  exit 1
fi

# ---- npm packages -------------------------------------------------------------------------------------------------------

# Compares what is installed with the lock file; optional packages (ffmpeg-static, binaries of other platforms) may lack.
packages_in_step() {
  node -e '
    const { existsSync, readFileSync } = require("node:fs")
    const read = (file) => JSON.parse(readFileSync(file, "utf8")).packages
    const installed = read("node_modules/.package-lock.json")
    for (const [path, { version, optional, peer, link }] of Object.entries(read("package-lock.json"))) {
      if (path === "" || link) continue
      if (!installed[path]) { if (optional || peer) continue; else process.exit(1) }
      if (installed[path].version !== version || !existsSync(path)) process.exit(1)
    }' 2>/dev/null
}

if packages_in_step; then
  say 'npm packages are in step with package-lock.json.'
else
  say 'installing npm packages (npm ci) …'
  if ! npm ci --no-audit --no-fund; then
    say 'npm ci failed; see its output above.'
    exit 1
  fi
fi

# ---- System packages ----------------------------------------------------------------------------------------------------

system=$(uname -s)
distribution=none
codename=
[ "$system" = Linux ] && [ -r /etc/os-release ] && {
  distribution=$(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}")
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
}
has_apt() { command -v apt-get >/dev/null && [[ $distribution == *debian* || $distribution == *ubuntu* ]]; }

as_root=(none)
if [ "$(id -u)" = 0 ]; then
  as_root=(env)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root=(sudo env)
fi
is_root() { [ "${as_root[0]}" != none ]; }
apt_get() { "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"; }

updated=no
# install [-t RELEASE] PACKAGE…: apt-get, refreshing its lists the first time something is missing.
install() {
  if [ $updated = no ]; then
    say 'refreshing the package lists …'
    apt_get update >/dev/null || say 'apt-get update reported errors; going on with the lists there are.'
    updated=yes
  fi
  say "installing $* …"
  apt_get install -y --no-install-recommends "$@"
}

# ---- A driver for Dawn --------------------------------------------------------------------------------------------------

# Asks Dawn itself and prints the adapter; a GPU that Dawn can use needs no software driver.
adapter() {
  DIPTYCH_QUIET=1 timeout 60 node --import tsx --input-type=module --eval '
    import { describeAdapter } from "./engine/device/adapter.ts"
    import { requestGpu } from "./engine/device/open.ts"
    const { adapter } = await requestGpu()
    console.log(describeAdapter(adapter) + (adapter.software ? ", on the CPU" : ""))' 2>/dev/null
}

driver_packages=(mesa-vulkan-drivers libvulkan1)
# Dawn refuses the Mesa 22.3 of Debian 12; its backports carry 25.0.
[ "$codename" = bookworm ] && driver_packages=(-t bookworm-backports "${driver_packages[@]}")

install_driver() {
  if [ "$codename" = bookworm ] && ! grep -rqsE --include='*.list' --include='*.sources' '^[^#]*bookworm-backports' /etc/apt/sources.list /etc/apt/sources.list.d; then
    say 'adding bookworm-backports to the package sources …'
    echo 'deb http://deb.debian.org/debian bookworm-backports main' |
      "${as_root[@]}" tee /etc/apt/sources.list.d/bookworm-backports.list >/dev/null || return 1
    updated=no
  fi
  install "${driver_packages[@]}"
}

found=$(adapter) || found=
if [ -z "$found" ] && has_apt && is_root && install_driver; then found=$(adapter) || found=; fi
if [ -n "$found" ]; then
  say "Dawn finds an adapter: $found."
else
  case $system in
  Darwin) cannot 'WebGPU adapter' 'none found, though Metal should offer one; macOS 12 or newer is needed, with a display session' ;;
  Linux)
    if [ "$codename" = bookworm ]; then
      cannot 'Vulkan driver' "as root: echo 'deb http://deb.debian.org/debian bookworm-backports main' > /etc/apt/sources.list.d/bookworm-backports.list && apt-get update && apt-get install -y --no-install-recommends ${driver_packages[*]}"
    elif has_apt; then
      cannot 'Vulkan driver' "as root: apt-get update && apt-get install -y --no-install-recommends ${driver_packages[*]} (Mesa 24 or newer: Ubuntu 24.04, Debian 13)"
    else
      cannot 'Vulkan driver' 'install the Vulkan loader and Mesa 24 or newer with lavapipe (Fedora: mesa-vulkan-drivers vulkan-loader; Arch: vulkan-swrast vulkan-icd-loader)'
    fi
    ;;
  *) cannot 'WebGPU adapter' 'none found; update the graphics driver (Direct3D 12)' ;;
  esac
fi

# ---- ffmpeg -------------------------------------------------------------------------------------------------------------

ffmpeg_found() {
  [ -n "${FFMPEG_PATH:-${FFMPEG_BIN:-}}" ] || command -v ffmpeg >/dev/null ||
    node -e '
      for (const find of [() => require("ffmpeg-static"), () => require("@ffmpeg-installer/ffmpeg").path])
        try { if (require("node:fs").existsSync(find())) process.exit(0) } catch {}
      process.exit(1)' 2>/dev/null
}

if ! ffmpeg_found && has_apt && is_root; then install ffmpeg; fi
if ffmpeg_found; then
  say 'ffmpeg is there.'
else
  case $system in
  Darwin) cannot ffmpeg 'brew install ffmpeg' ;;
  Linux) cannot ffmpeg "as root: $(has_apt && echo 'apt-get install -y --no-install-recommends ffmpeg' || echo 'install the package ffmpeg')" ;;
  *) cannot ffmpeg 'winget install ffmpeg, or set FFMPEG_PATH' ;;
  esac
fi

# ---- Chromium, for the browser tests only -------------------------------------------------------------------------------

chromium_found() { node --import tsx test/browser/chromium.ts >/dev/null 2>&1; }

if [ "${DIPTYCH_SKIP_CHROMIUM:-}" = 1 ]; then
  say 'Chromium is left alone (DIPTYCH_SKIP_CHROMIUM=1).'
else
  if ! chromium_found && has_apt && is_root; then
    if [[ $distribution == ubuntu* ]]; then
      # Ubuntu's chromium-browser is a snap, which neither starts in containers nor under test drivers.
      say 'installing Chromium (playwright-core) …'
      node node_modules/playwright-core/cli.js install --with-deps chromium
    else
      install chromium
    fi
  fi
  if chromium_found; then
    say 'Chromium is there.'
  else
    cannot 'Chromium (browser tests only)' 'npx playwright-core install chromium, or install any Chrome or Chromium and set CHROMIUM_PATH'
  fi
fi

# ---- What is left -------------------------------------------------------------------------------------------------------

if [ ${#left[@]} = 0 ]; then
  say 'ready.'
else
  is_root || [ "$system" != Linux ] || say 'without root (or sudo without a password) no system package was installed.'
  say 'still missing, to be installed by hand:'
  for line in "${left[@]}"; do say "  $line"; done
fi
exit 0
