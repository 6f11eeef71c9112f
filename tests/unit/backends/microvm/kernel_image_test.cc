#include "writ/backends/microvm/kernel_image.h"

#include <gtest/gtest.h>
#include <lz4.h>

#include <string>

namespace writ::test {
namespace {

using backends::microvm::ReadKernel;

void Put(std::string& bytes, std::size_t at, std::uint32_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i)
    bytes[at + i] = static_cast<char>((value >> (8 * i)) & 0xff);
}
std::string Number(std::uint32_t value) {
  std::string out(4, '\0');
  Put(out, 0, value, 4);
  return out;
}
std::string Pack(const std::string& bytes) {
  std::string out(static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(bytes.size()))),
                  '\0');
  out.resize(static_cast<std::size_t>(LZ4_compress_default(
      bytes.data(), out.data(), static_cast<int>(bytes.size()), static_cast<int>(out.size()))));
  return out;
}

// As the kernel's build makes it: one set-up sector, then the payload.
std::string BzImage(const std::string& payload) {
  std::string out(1024, '\0');
  Put(out, 0x1f1, 1, 1);
  out.replace(0x202, 4, "HdrS");
  Put(out, 0x20e, 0x300 - 0x200, 2);
  out.replace(0x300, 12, "6.1.0-test (");
  Put(out, 0x248, 64, 4);
  Put(out, 0x24c, static_cast<std::uint32_t>(payload.size()), 4);
  return out + std::string(64, '\0') + payload;
}

const std::string kElf =
    "\x7f"
    "ELF" +
    std::string(14, 'k') + std::string("\x3e\0", 2) + std::string(9u << 20, 'k') + "end";

std::string Payload() {
  const std::string first = Pack(kElf.substr(0, 8u << 20));
  const std::string second = Pack(kElf.substr(8u << 20));
  return Number(0x184C2102) + Number(static_cast<std::uint32_t>(first.size())) + first +
         Number(static_cast<std::uint32_t>(second.size())) + second +
         Number(static_cast<std::uint32_t>(kElf.size()));
}

TEST(KernelImage, GivesTheElfAndTheReleaseOfABzImage) {
  auto kernel = ReadKernel(BzImage(Payload()));
  ASSERT_TRUE(kernel) << kernel.error().ToString();
  EXPECT_EQ(kernel->elf, kElf);
  EXPECT_EQ(kernel->release, "6.1.0-test");
  auto again = ReadKernel(kernel->elf);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->elf, kElf);
}

TEST(KernelImage, RefusesWhatIsDamaged) {
  const std::string whole = BzImage(Payload());
  EXPECT_FALSE(ReadKernel(""));
  EXPECT_FALSE(ReadKernel("not a kernel"));
  EXPECT_FALSE(ReadKernel(std::string(4096, '\0')));
  EXPECT_FALSE(ReadKernel(whole.substr(0, whole.size() - 1)));
  std::string wrong_size = whole;
  Put(wrong_size, whole.size() - 4, 12, 4);
  EXPECT_FALSE(ReadKernel(wrong_size));
  std::string no_elf =
      BzImage(Number(0x184C2102) + Number(2) + std::string("\x10x", 2) + Number(1));
  EXPECT_FALSE(ReadKernel(no_elf));
}

TEST(KernelImage, NamesAPackingThatItDoesNotKnow) {
  auto kernel = ReadKernel(BzImage("\x1f\x8b" + std::string(100, 'g')));
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code, "microvm.kernel_packing");
}

}  // namespace
}  // namespace writ::test
