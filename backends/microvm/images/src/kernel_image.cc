#include "writ/backends/microvm/kernel_image.h"

#include <lz4.h>

#include <algorithm>
#include <cstdint>

namespace writ::backends::microvm {
namespace {

constexpr std::string_view kElfMagic =
    "\x7f"
    "ELF";
constexpr std::size_t kSetupSectors = 0x1f1;
constexpr std::size_t kHeaderMagic = 0x202;  // "HdrS"
constexpr std::size_t kVersionPointer = 0x20e;
constexpr std::size_t kPayloadOffset = 0x248;
constexpr std::size_t kPayloadLength = 0x24c;
constexpr std::size_t kHeaderEnd = 0x250;
constexpr std::size_t kSector = 512;
constexpr std::size_t kDefaultSectors = 4;
constexpr std::uint32_t kLz4Legacy = 0x184C2102;
constexpr std::size_t kLz4Block = 8u << 20;
constexpr std::size_t kMaxElf = 512u << 20;

std::uint32_t Number(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < size; ++i)
    value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  return value;
}

Error Wrong(const std::string& what) {
  return Error{ErrorKind::kInvalid, "microvm.kernel", "this is no kernel that can be used: " + what,
               "a bzImage such as Debian's /boot/vmlinuz-*-cloud-amd64, or its ELF"};
}

// A kernel of another processor would be seen only as a machine that says nothing.
Status CheckElf(std::string_view elf) {
  constexpr std::size_t kMachine = 18;
  constexpr std::uint32_t kX86 = 62;
  if (elf.size() < kMachine + 2) return Wrong("its ELF file is cut off");
  if (Number(elf, kMachine, 2) == kX86) return {};
  return Error{ErrorKind::kUnsupported, "microvm.architecture",
               "this kernel is of another processor", "take one that was built for x86-64"};
}

// The legacy frame that the kernel's build writes: blocks until the payload's last four bytes,
// which are the size of the whole.
Result<std::string> Unpack(std::string_view payload) {
  if (payload.size() < 12 || Number(payload, 0, 4) != kLz4Legacy)
    return Error{ErrorKind::kUnsupported, "microvm.kernel_packing",
                 "this kernel is not packed with LZ4",
                 "take a kernel built with CONFIG_KERNEL_LZ4, or its vmlinux"};
  const std::uint32_t whole = Number(payload, payload.size() - 4, 4);
  payload = payload.substr(4, payload.size() - 8);
  if (whole > kMaxElf) return Wrong("it is too large");
  std::string out;
  while (out.size() < whole && payload.size() > 4) {
    const std::uint32_t size = Number(payload, 0, 4);
    payload.remove_prefix(4);
    if (size > payload.size()) return Wrong("it is cut off");
    const std::size_t at = out.size();
    const std::size_t room = std::min<std::size_t>(kLz4Block, whole - at);
    out.resize(at + room);
    const int got = LZ4_decompress_safe(payload.data(), out.data() + at, static_cast<int>(size),
                                        static_cast<int>(room));
    if (got < 0) return Wrong("it is damaged");
    out.resize(at + static_cast<std::size_t>(got));
    payload.remove_prefix(size);
    if (got == 0) break;
  }
  if (out.size() != whole) return Wrong("it is damaged");
  return out;
}

}  // namespace

Result<KernelImage> ReadKernel(std::string_view bytes) {
  KernelImage image;
  if (bytes.starts_with(kElfMagic)) {
    WRIT_TRY(CheckElf(bytes));
    image.elf = bytes;
    return image;
  }
  if (bytes.size() < kHeaderEnd || bytes.substr(kHeaderMagic, 4) != "HdrS")
    return Wrong("it is neither a bzImage nor an ELF file");
  const std::size_t version = Number(bytes, kVersionPointer, 2) + 0x200;
  if (version < bytes.size()) {
    const std::string_view text = bytes.substr(version, 256);
    image.release = text.substr(0, std::min(text.find(' '), text.find('\0')));
  }
  std::size_t sectors = Number(bytes, kSetupSectors, 1);
  if (sectors == 0) sectors = kDefaultSectors;
  const std::size_t start = (sectors + 1) * kSector + Number(bytes, kPayloadOffset, 4);
  const std::size_t size = Number(bytes, kPayloadLength, 4);
  if (start > bytes.size() || size > bytes.size() - start) return Wrong("it is cut off");
  WRIT_ASSIGN(image.elf, Unpack(bytes.substr(start, size)));
  if (!image.elf.starts_with(kElfMagic)) return Wrong("there is no ELF file in it");
  WRIT_TRY(CheckElf(image.elf));
  return image;
}

}  // namespace writ::backends::microvm
