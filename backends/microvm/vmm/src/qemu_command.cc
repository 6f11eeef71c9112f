#include <algorithm>
#include <charconv>

#include "writ/backends/microvm/guest_layout.h"
#include "writ/backends/microvm/vmm.h"

namespace writ::backends::microvm {
namespace {

constexpr int kLeastMajor = 7;
constexpr int kLeastMinor = 2;

// Commas separate options and are doubled in a value.
std::string Value(const std::string& text) {
  std::string out;
  for (char c : text) {
    out += c;
    if (c == ',') out += c;
  }
  return out;
}

std::string KernelCommand(const MachineSpec& spec) {
  // A restart is an end (-no-reboot), and so is a panic, at once.
  std::string line = "console=ttyS0 panic=-1 reboot=t quiet";
  // An emulated processor on a busy host cannot calibrate its clock and would try for ever.
  if (spec.acceleration == Acceleration::kTcg && spec.tsc_khz != 0)
    line += " tsc_early_khz=" + std::to_string(spec.tsc_khz) + " tsc=reliable";
  return line;
}

void AddDrive(const std::string& name, const std::string& file, std::vector<std::string>& out) {
  out.insert(out.end(),
             {"-drive", "if=none,format=raw,readonly=on,id=" + name + ",file=" + Value(file),
              "-device", "virtio-blk-device,drive=" + name + ",serial=" + name});
}

std::string Socket(const char* id, int fd) {
  return "socket,id=" + std::string(id) + ",fd=" + std::to_string(fd);
}

}  // namespace

std::string_view AccelerationName(Acceleration acceleration) {
  return acceleration == Acceleration::kKvm ? "kvm" : "tcg";
}

std::vector<std::string> QemuCommand(const MachineSpec& spec) {
  const std::string memory = std::to_string(spec.memory_bytes >> 20) + "M";
  std::vector<std::string> out = {
      "qemu-system-x86_64",
      "-M",
      "microvm,x-option-roms=off,rtc=on,memory-backend=ram",
      "-accel",
      std::string(AccelerationName(spec.acceleration)),
      "-cpu",
      spec.acceleration == Acceleration::kKvm ? "host" : "max",
      "-m",
      memory,
      "-smp",
      std::to_string(spec.cpus),
      "-object",
      "memory-backend-memfd,id=ram,size=" + memory,
      "-nodefaults",
      "-no-user-config",
      "-display",
      "none",
      "-no-reboot",
      "-global",
      "virtio-mmio.force-legacy=false",
      "-sandbox",
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
      "-chardev",
      Socket("control", kQemuControlFd),
      "-mon",
      "chardev=control,mode=control",
      "-chardev",
      Socket("console", kQemuConsoleFd),
      "-serial",
      "chardev:console",
      "-device",
      "virtio-serial-device,max_ports=2",
      "-chardev",
      Socket("agent", kQemuChannelFd),
      "-device",
      "virtserialport,nr=1,chardev=agent,name=" + std::string(kAgentPort),
      "-object",
      "rng-random,id=rng,filename=/dev/urandom",
      "-device",
      "virtio-rng-device,rng=rng",
      "-kernel",
      spec.kernel,
      "-initrd",
      spec.initramfs,
      "-append",
      KernelCommand(spec)};
  AddDrive(kRootDrive, spec.root, out);
  AddDrive(kInputsDrive, spec.inputs, out);
  return out;
}

Result<std::string> QemuVersion(std::string_view first_line) {
  constexpr std::string_view kStart = "QEMU emulator version ";
  if (!first_line.starts_with(kStart))
    return Error{ErrorKind::kUnsupported, "microvm.qemu_version",
                 "the program does not say that it is QEMU"};
  first_line.remove_prefix(kStart.size());
  const std::string version(first_line.substr(0, first_line.find_first_of(" \n(")));
  int major = 0;
  int minor = 0;
  const char* end = version.data() + version.size();
  auto [dot, error] = std::from_chars(version.data(), end, major);
  if (error == std::errc() && dot != end) std::from_chars(dot + 1, end, minor);
  if (major < kLeastMajor || (major == kLeastMajor && minor < kLeastMinor))
    return Error{ErrorKind::kUnsupported, "microvm.qemu_version",
                 "QEMU " + version + " is older than 7.2, the first that was tried"};
  return version;
}

}  // namespace writ::backends::microvm
