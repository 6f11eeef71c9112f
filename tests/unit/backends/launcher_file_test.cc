// writ-launch as a file: it is linked statically, so that it starts quickly and in any root.
#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "support/places.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

TEST(LauncherFile, NeedsNoDynamicLinker) {
#ifdef WRIT_SANITIZERS_ON
  GTEST_SKIP() << "sanitizers cannot be linked statically";
#endif
  auto bytes = ReadFile(test::BinDir() + "/writ-launch", 1u << 30);
  ASSERT_TRUE(bytes) << bytes.error().ToString();
  ASSERT_GT(bytes->size(), sizeof(Elf64_Ehdr));
  Elf64_Ehdr head{};
  std::memcpy(&head, bytes->data(), sizeof head);
  ASSERT_EQ(std::string(reinterpret_cast<const char*>(head.e_ident), 4), ELFMAG);
  int loaded = 0;
  for (int i = 0; i < head.e_phnum; ++i) {
    Elf64_Phdr part{};
    std::memcpy(&part, bytes->data() + head.e_phoff + i * sizeof part, sizeof part);
    EXPECT_NE(part.p_type, static_cast<Elf64_Word>(PT_INTERP)) << "it names a dynamic linker";
    if (part.p_type == PT_LOAD) ++loaded;
  }
  EXPECT_GT(loaded, 0);
}

}  // namespace
}  // namespace writ::backends
