#include "writ/protocol/file_digest.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "writ/base/unique_fd.h"

namespace writ::protocol {
namespace {

TEST(FileDigest, IsThatOfAllBytesWhereverTheDescriptorStands) {
  std::string bytes;
  for (int i = 0; bytes.size() < (2u << 20) + 17; ++i) bytes += std::to_string(i);  // three pieces
  const std::string path = testing::TempDir() + "writ-file-digest-" + std::to_string(::getpid());
  std::ofstream(path, std::ios::binary) << bytes;
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::lseek(file.get(), 5, SEEK_SET), 5);
  EXPECT_EQ(DigestOfFile(file.get()).value(), Sha256(bytes));
  EXPECT_EQ(::lseek(file.get(), 0, SEEK_CUR), 5);
  EXPECT_EQ(DigestOfFile(path).value(), Sha256(bytes));
  ::unlink(path.c_str());
}

TEST(FileDigest, SaysWhatCannotBeRead) {
  EXPECT_EQ(DigestOfFile(testing::TempDir() + "no/such/file").error().code, "digest.read");
  const UniqueFd folder(::open(testing::TempDir().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(DigestOfFile(folder.get()).error().code, "digest.read");
}

}  // namespace
}  // namespace writ::protocol
