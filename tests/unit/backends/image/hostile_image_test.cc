// What a hostile image tries. L13: nothing outside of its root is touched, and it is refused whole.
#include <sys/stat.h>

#include "image_fixture.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;

class HostileImage : public ImageFixture {
 protected:
  HostileImage() { Write("victim/kept", "as it was"); }
  ~HostileImage() override {
    EXPECT_EQ(Read(base_ + "/victim/kept"), "as it was");
    EXPECT_EQ(std::distance(fs::directory_iterator(base_ + "/victim"), fs::directory_iterator{}),
              1);
  }
  std::string Victim() const { return base_ + "/victim"; }
};

TEST_F(HostileImage, WithParentDirectoriesInNamesIsRefused) {
  for (const char* name : {"../victim/new", "a/../../victim/new", "..", "a/..", "./../x"})
    EXPECT_EQ(Refusal({Plain({Dir("a"), File(name, "x")})}), "image.hostile_name") << name;
}

TEST_F(HostileImage, WithAbsoluteNamesIsRefused) {
  EXPECT_EQ(Refusal({Plain({File(Victim() + "/new", "x")})}), "image.hostile_name");
  EXPECT_EQ(Refusal({Plain({File("/etc/passwd", "x")})}), "image.hostile_name");
}

TEST_F(HostileImage, WithEntriesBelowASymbolicLinkIsRefused) {
  EXPECT_EQ(Refusal({Plain({Link("out", Victim()), File("out/new", "x")})}), "image.hostile_path");
  EXPECT_EQ(Refusal({Plain({Link("out", Victim())}), Plain({File("out/kept", "x")})}),
            "image.hostile_path");
  EXPECT_EQ(Refusal({Plain({Dir("d"), Link("d/out", "../../../victim"), Dir("d/out/sub/deep")})}),
            "image.hostile_path");
  EXPECT_EQ(Refusal({Plain({Link("out", Victim()), HardLink("out/new", "out")})}),
            "image.hostile_path");
}

TEST_F(HostileImage, CannotRemoveThroughAWhiteoutBelowALink) {
  EXPECT_EQ(Refusal({Plain({Link("out", Victim())}), Plain({File("out/.wh.kept", "")})}),
            "image.hostile_path");
  EXPECT_EQ(Refusal({Plain({Link("out", Victim())}), Plain({File("out/.wh..wh..opq", "")})}),
            "image.hostile_path");
}

TEST_F(HostileImage, WithAWhiteoutOfTheParentIsRefused) {
  for (const char* name : {".wh...", ".wh..", ".wh.", "a/.wh..."})
    EXPECT_EQ(Refusal({Plain({Dir("a"), File(name, "")})}), "image.hostile_name") << name;
}

TEST_F(HostileImage, WithHardLinksToOutsideIsRefused) {
  EXPECT_EQ(Refusal({Plain({HardLink("h", Victim() + "/kept")})}), "image.hostile_name");
  EXPECT_EQ(Refusal({Plain({HardLink("h", "../victim/kept")})}), "image.hostile_name");
  EXPECT_EQ(Refusal({Plain({Link("out", Victim()), HardLink("h", "out/kept")})}),
            "image.hostile_path");
  EXPECT_EQ(Refusal({Plain({Dir("d"), HardLink("h", "d")})}), "image.hostile_path");
  EXPECT_EQ(Refusal({Plain({HardLink("h", "h")})}), "image.hostile_path");
}

TEST_F(HostileImage, CannotWriteThroughAHardLinkToASymbolicLink) {
  auto record = ImportLayers({Plain({Link("out", Victim() + "/kept"), HardLink("h", "out"),
                                     File("h", "mine"), File("out", "m2")})});
  ASSERT_TRUE(record) << record.error().ToString();
  EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(Root(*record) + "/h")));
}

TEST_F(HostileImage, KeepsNoDevicesAndNoSetIdBits) {
  auto record = ImportLayers({Plain({{"dev/null", '3', {}, {}, 0666},
                                     {"pipe", '6', {}, {}, 0666},
                                     File("su", "x", 06777),
                                     Dir("shared", 02777)})});
  ASSERT_TRUE(record) << record.error().ToString();
  EXPECT_EQ(record->findings.skipped_special, 2u);
  EXPECT_EQ(record->findings.cleared_set_id, 2u);
  EXPECT_FALSE(fs::exists(Root(*record) + "/dev/null"));
  struct stat st {};
  ASSERT_EQ(::stat((Root(*record) + "/su").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u) << "no set-id bits, and only the importer may write";
}

TEST_F(HostileImage, ThatSwellsIsRefused) {
  options_.limits.ratio_free_bytes = 64 * 1024;
  EXPECT_EQ(Refusal({Zipped({File("zeros", std::string(8u << 20, '\0'))})}), "image.too_large");
}

TEST_F(HostileImage, WithTooManyBytesEntriesOrLayersIsRefused) {
  options_.limits.bytes = 1u << 20;
  EXPECT_EQ(Refusal({Plain({File("big", std::string(2u << 20, 'x'))})}), "image.too_large");
  options_.limits = {};
  options_.limits.entries = 20;
  std::vector<TarMember> many;
  for (int i = 0; i < 30; ++i) many.push_back(File("f" + std::to_string(i), ""));
  EXPECT_EQ(Refusal({Plain(many)}), "image.too_large");
  options_.limits = {};
  options_.limits.layers = 2;
  EXPECT_EQ(Refusal({Plain({Dir("a")}), Plain({Dir("b")}), Plain({Dir("c")})}), "image.too_large");
}

TEST_F(HostileImage, ThatLiesAboutASizeNeverFillsTheDisk) {
  std::string tar = MakeTar({File("huge", "x")});
  tar.replace(124, 11, "77777777777");  // 8 GiB; the header's sum is made to fit below
  tar.replace(148, 8, "        ");
  unsigned sum = 0;
  for (std::size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(tar[i]);
  char text[8];
  std::snprintf(text, sizeof text, "%06o", sum);
  tar.replace(148, 7, std::string(text, 7));
  options_.limits.bytes = 1u << 20;
  EXPECT_EQ(Refusal({{tar, tar}}), "image.too_large");
  options_.limits = {};
  EXPECT_EQ(Refusal({{tar, tar}}), "image.bad_archive");
}

TEST_F(HostileImage, WithTooDeepNamesIsRefused) {
  std::string deep;
  for (int i = 0; i < 300; ++i) deep += "d/";
  EXPECT_EQ(Refusal({Plain({File(deep + "f", "x")})}), "image.hostile_name");
  EXPECT_EQ(Refusal({Plain({File(std::string(300, 'n'), "x")})}), "image.hostile_name");
}

TEST_F(HostileImage, WithAnEscapeInTheArchiveAroundItIsRefused) {
  std::vector<ImageFile> files = OciFiles({Plain({Dir("a")})});
  std::string archive =
      MakeTar({Link("blobs", Victim()), File("blobs/sha256/new.json", "x")}) + TarOf(files);
  (void)store_.Import(Write("image.tar", archive), options_).has_value();
  archive = MakeTar({Link("blobs.json", Victim()), File("blobs.json/new.tar", "x")});
  EXPECT_EQ(store_.Import(Write("image.tar", archive), options_).error().code,
            "image.hostile_path");
}

}  // namespace
}  // namespace writ::test
