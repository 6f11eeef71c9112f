#include "writ/backends/microvm/qemu_command.h"

#include "writ/backends/microvm/guest_layout.h"

namespace writ::backends::microvm {
namespace {

constexpr VmmVersion kSharesReadOnly{8, 2, 0};  // its `rom` option

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
  out.insert(out.end(), {"-blockdev",
                         "driver=raw,node-name=" + name +
                             ",read-only=on,file.driver=file,file.filename=" + Value(file),
                         "-device", "virtio-blk-device,drive=" + name + ",serial=" + name});
}

std::string RamObject(const MachineSpec& spec, const QemuRam& ram) {
  const std::string file = "memory-backend-file,mem-path=" + Value(ram.path) + ",share=";
  switch (ram.kind) {
    case QemuRam::Kind::kAnonymous:
      return "memory-backend-ram";
    case QemuRam::Kind::kShared:
      return file + "on";
    case QemuRam::Kind::kCopyOnWrite:
      return file + (spec.version >= kSharesReadOnly ? "off,readonly=on,rom=off" : "off");
  }
  return {};
}

std::string Socket(const char* id, int fd) {
  return "socket,id=" + std::string(id) + ",fd=" + std::to_string(fd);
}

}  // namespace

std::vector<std::string> QemuCommand(const MachineSpec& spec, const QemuRam& ram) {
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
      RamObject(spec, ram) + ",id=ram,size=" + memory,
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
  };
  // All that a kernel was loaded from is in the memory of a machine that is restored.
  if (ram.start == QemuRam::Start::kBoots)
    out.insert(out.end(),
               {"-kernel", spec.kernel, "-initrd", spec.initramfs, "-append", KernelCommand(spec)});
  else
    out.insert(out.end(), {"-incoming", "defer"});
  AddDrive(kRootDrive, spec.root, out);
  AddDrive(kInputsDrive, spec.inputs, out);
  if (!spec.base.empty()) AddDrive(kBaseDrive, spec.base, out);
  return out;
}

protocol::Digest QemuLayout(const MachineSpec& spec) {
  MachineSpec same = spec;
  same.root = "root";
  same.inputs = "inputs";
  if (!same.base.empty()) same.base = "base";
  protocol::Sha256Hasher hasher;
  for (const std::string& word :
       QemuCommand(same, {QemuRam::Kind::kAnonymous, "", QemuRam::Start::kRestored}))
    hasher.Update(std::to_string(word.size()) + " " + word + "\n");
  return hasher.Finish();
}

}  // namespace writ::backends::microvm
