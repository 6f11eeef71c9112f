#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "image_fixture.h"
#include "writ/backends/image/oci_documents.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using backends::image::ImageDigestText;

class ImageStoreTest : public ImageFixture {};

TEST_F(ImageStoreTest, AppliesLayersInTheirOrderWithWhiteouts) {
  auto record = ImportLayers(
      {Zipped({Dir("etc"), File("etc/a", "lower"), File("etc/b", "lower"), Dir("data"),
               File("data/old", "x"), File("data/deep/old", "x"), File("twice", "one")}),
       Plain({File("etc/.wh.a", ""), File("data/new", "y"), File("data/.wh..wh..opq", ""),
              File("twice", "two"), Link("link", "/etc/b"), HardLink("hard", "etc/b")})});
  ASSERT_TRUE(record) << record.error().ToString();
  const std::string root = Root(*record);
  EXPECT_FALSE(fs::exists(root + "/etc/a"));
  EXPECT_EQ(Read(root + "/hard"), "lower");
  EXPECT_EQ(Read(root + "/twice"), "two");
  EXPECT_TRUE(fs::exists(root + "/data/new")) << "a layer's own files outlive its opaque mark";
  EXPECT_FALSE(fs::exists(root + "/data/old"));
  EXPECT_FALSE(fs::exists(root + "/data/deep"));
  EXPECT_EQ(fs::read_symlink(root + "/link"), "/etc/b");
  EXPECT_EQ(record->layers.size(), 2u);
  EXPECT_TRUE(fs::is_regular_file(root + "/etc/resolv.conf")) << "a place for the job's own";
}

TEST_F(ImageStoreTest, AReplacedFileLeavesItsHardLinksAsTheyWere) {
  auto record =
      ImportLayers({Plain({File("a", "first"), HardLink("b", "a")}), Plain({File("a", "second")})});
  ASSERT_TRUE(record) << record.error().ToString();
  EXPECT_EQ(Read(Root(*record) + "/a"), "second");
  EXPECT_EQ(Read(Root(*record) + "/b"), "first");
}

TEST_F(ImageStoreTest, KeepsLongAndForeignNames) {
  const std::string longest =
      std::string(120, 'l') + "/" + std::string(200, 'm') + "/\xc3\xa4\xe2\x82\xac";
  auto record = ImportLayers({Plain({File(longest, "here"), Link("to", longest)})});
  ASSERT_TRUE(record) << record.error().ToString();
  EXPECT_EQ(Read(Root(*record) + "/" + longest), "here");
  EXPECT_EQ(fs::read_symlink(Root(*record) + "/to"), longest);
}

TEST_F(ImageStoreTest, ReadsTheSameImageFromALayoutAnArchiveAndDocker) {
  const std::vector<LayerBytes> layers = {Zipped({File("bin/tool", "#!", 0755)})};
  WriteFiles(base_ + "/layout", OciFiles(layers));
  auto layout = store_.Import(base_ + "/layout", options_);
  auto archive = ImportLayers(layers);
  auto zipped = store_.Import(Write("image.tar.gz", Gzip(TarOf(OciFiles(layers)))), options_);
  auto docker = store_.Import(Write("docker.tar", TarOf(DockerFiles(layers, "tool:1"))), options_);
  for (const auto* each : {&layout, &archive, &zipped, &docker}) {
    ASSERT_TRUE(*each) << each->error().ToString();
    EXPECT_EQ((*each)->id, layout->id);
  }
  EXPECT_EQ(Entries().size(), 1u) << "the same image is there once";
}

TEST_F(ImageStoreTest, ADirectoryIsNamedByItsContent) {
  Write("root/bin/tool", "one");
  auto first = store_.Import(base_ + "/root", options_);
  auto again = store_.Import(base_ + "/root", options_);
  ASSERT_TRUE(first) << first.error().ToString();
  ASSERT_TRUE(again);
  EXPECT_EQ(first->id, again->id);
  Write("root/bin/tool", "two");
  auto other = store_.Import(base_ + "/root", options_);
  ASSERT_TRUE(other);
  EXPECT_NE(first->id, other->id);
}

TEST_F(ImageStoreTest, RefusesEveryDigestThatDoesNotFit) {
  const std::vector<LayerBytes> layers = {Plain({File("a", "x")})};
  const std::vector<ImageFile> files = OciFiles(layers);
  for (std::size_t i = 1; i + 1 < files.size(); ++i) {  // layer, configuration, manifest
    std::vector<ImageFile> damaged = files;
    damaged[i].bytes[damaged[i].bytes.size() / 2] ^= 1;
    auto record = store_.Import(Write("image.tar", TarOf(damaged)), options_);
    ASSERT_FALSE(record) << files[i].name;
    EXPECT_EQ(record.error().code, "image.digest_mismatch") << files[i].name;
  }
  auto docker = DockerFiles({{layers[0].stored, MakeTar({File("a", "other")})}}, "x:1");
  EXPECT_EQ(store_.Import(Write("docker.tar", TarOf(docker)), options_).error().code,
            "image.digest_mismatch");
  EXPECT_THAT(Entries(), testing::IsEmpty());
}

TEST_F(ImageStoreTest, SaysWhatIsNoImage) {
  EXPECT_EQ(store_.Import(Write("x.tar", MakeTar({File("a", "x")})), options_).error().code,
            "image.unknown_format");
  EXPECT_EQ(store_.Import(Write("x.bin", std::string(4096, 'q')), options_).error().code,
            "image.bad_archive");
  EXPECT_EQ(store_.Import(base_ + "/nowhere", options_).error().code, "image.read");
}

TEST_F(ImageStoreTest, NamesMoveAndGoWithTheirImage) {
  options_.name = "tool";
  auto first = ImportLayers({Plain({File("a", "1")})});
  auto second = ImportLayers({Plain({File("a", "2")})});
  ASSERT_TRUE(first && second);
  auto found = store_.Find("tool");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->id, second->id);
  EXPECT_EQ(store_.Find(first->id.ToHex().substr(0, 12))->id, first->id);
  EXPECT_EQ(store_.Find(ImageDigestText(*second->manifest))->id, second->id);
  EXPECT_TRUE(store_.Remove("tool"));
  EXPECT_EQ(store_.Find("tool").error().code, "image.unknown");
  options_.name = "../x";
  EXPECT_EQ(ImportLayers({Plain({File("a", "1")})}).error().code, "image.bad_name");
}

TEST_F(ImageStoreTest, DoesNotRemoveAnImageThatIsHeld) {
  auto record = ImportLayers({Plain({File("a", "1")})});
  ASSERT_TRUE(record);
  const std::string id = ImageDigestText(record->id);
  {
    auto held = store_.Hold(id);
    ASSERT_TRUE(held);
    EXPECT_EQ(Read(held->root + "/a"), "1");
    EXPECT_EQ(store_.Remove(id).error().code, "image.in_use");
  }
  EXPECT_TRUE(store_.Remove(id));
  EXPECT_THAT(Entries(), testing::IsEmpty());
}

// L38, L39: whenever it is killed there is a whole image or none, and the next import cleans up.
TEST_F(ImageStoreTest, AKilledImportLeavesAWholeImageOrNone) {
  std::vector<TarMember> members;
  for (int i = 0; i < 400; ++i)
    members.push_back(File("f" + std::to_string(i), std::string(2000, 'x')));
  const std::string path = Write("image.tar", TarOf(OciFiles({Zipped(members)})));
  for (int step = 0; step < 12; ++step) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) ::_exit(store_.Import(path, options_) ? 0 : 1);
    // Killed once the store has changed `step` times as far as can be seen from outside, or at its
    // end.
    int changes = 0;
    std::vector<std::string> seen;
    while (changes < step && ::waitpid(pid, nullptr, WNOHANG) == 0) {
      std::vector<std::string> now;
      std::error_code ignored;
      for (fs::recursive_directory_iterator it(store_.dir(), ignored), end; it != end && !ignored;
           it.increment(ignored))
        now.push_back(it->path());
      if (now != seen) ++changes;
      seen = std::move(now);
    }
    ::kill(pid, SIGKILL);
    (void)::waitpid(pid, nullptr, 0);
    std::vector<std::string> damaged;
    auto all = store_.List(&damaged);
    ASSERT_TRUE(all);
    EXPECT_THAT(damaged, testing::IsEmpty());
    for (const auto& record : *all) {
      EXPECT_EQ(Read(Root(record) + "/f399").size(), 2000u);
      ASSERT_TRUE(store_.Remove(ImageDigestText(record.id)));
    }
  }
  ASSERT_TRUE(store_.Import(path, options_));
  EXPECT_EQ(Entries().size(), 1u) << "what the killed ones left is swept";
}

TEST_F(ImageStoreTest, ImportsAtTheSameTimeMakeOneImage) {
  const std::string path = Write("image.tar", TarOf(OciFiles({Zipped({File("a", "1")})})));
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] { good += store_.Import(path, options_) ? 1 : 0; });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 8);
  EXPECT_EQ(Entries().size(), 1u);
}

TEST_F(ImageStoreTest, ADamagedRecordIsToldAndMendedByAnotherImport) {
  auto record = ImportLayers({Plain({File("a", "1")})});
  ASSERT_TRUE(record);
  std::ofstream(store_.dir() + "/sha256-" + record->id.ToHex() + "/image.json") << "{";
  std::vector<std::string> damaged;
  EXPECT_TRUE(store_.List(&damaged)->empty());
  EXPECT_EQ(damaged.size(), 1u);
  EXPECT_TRUE(ImportLayers({Plain({File("a", "1")})}));
  damaged.clear();
  EXPECT_EQ(store_.List(&damaged)->size(), 1u);
  EXPECT_TRUE(damaged.empty());
}

// What of a tree's files can be lost or changed, and what cannot be seen in it: when it was
// written.
TEST_F(ImageStoreTest, FindsOnDemandThatAnImageIsNotWhatWasImported) {  // L30
  const std::vector<LayerBytes> layers = {
      Plain({File("bin/sh", "program"), File("a", "1"), Link("to", "a")})};
  auto record = ImportLayers(layers);
  ASSERT_TRUE(record);
  const std::string id = ImageDigestText(record->id);
  const std::string root = Root(*record);
  EXPECT_TRUE(store_.Verify(id));
  fs::last_write_time(root + "/a", fs::file_time_type::clock::now());
  EXPECT_TRUE(store_.Verify(id));
  const std::vector<std::function<void()>> damages = {
      [&] { fs::resize_file(root + "/bin/sh", 3); },
      [&] { std::ofstream(root + "/a") << "2"; },
      [&] { std::ofstream(root + "/more") << ""; },
      [&] { fs::remove(root + "/a"); },
      [&] { fs::permissions(root + "/a", fs::perms(0600)); },
      [&] { fs::remove(root + "/to"), fs::create_symlink("b", root + "/to"); },
      [&] { fs::remove(root + "/a"), fs::create_directory(root + "/a"); },
      [&] { fs::remove_all(root); }};
  for (std::size_t i = 0; i < damages.size(); ++i) {
    damages[i]();
    auto verified = store_.Verify(id);
    ASSERT_FALSE(verified) << i;
    EXPECT_EQ(verified.error().kind, ErrorKind::kIntegrity) << verified.error().ToString();
    auto held = store_.Hold(id);
    ASSERT_FALSE(held) << "no job gets what was found to be damaged: " << i;
    EXPECT_EQ(held.error().code, "image.damaged") << held.error().ToString();
    EXPECT_NE(held.error().hint, "");
    ASSERT_TRUE(ImportLayers(layers)) << "importing it again mends it: " << i;
    EXPECT_TRUE(store_.Verify(id)) << i;
    auto mended = store_.Hold(id);
    ASSERT_TRUE(mended) << i;
    EXPECT_EQ(Read(mended->root + "/bin/sh"), "program");
  }
}

// A boot is what a disk's losses show after: then it is read once, before its first use.
TEST_F(ImageStoreTest, LooksAtAnImageOnceABoot) {
  auto record = ImportLayers({Plain({File("a", "1")})});
  ASSERT_TRUE(record);
  const std::string id = ImageDigestText(record->id);
  const std::string seen = fs::path(Root(*record)).parent_path() / "looked-at";
  fs::resize_file(Root(*record) + "/a", 0);
  EXPECT_TRUE(store_.Hold(id)) << "in this boot it was whole when it came";
  std::ofstream(seen) << "another boot\n";
  EXPECT_EQ(store_.Hold(id).error().code, "image.damaged");
  std::ofstream(Root(*record) + "/a") << "1";
  EXPECT_TRUE(store_.Hold(id));
  EXPECT_NE(Read(seen), "another boot\n");
}

TEST_F(ImageStoreTest, MendsNoImageUnderARunningJob) {
  auto record = ImportLayers({Plain({File("a", "1")})});
  ASSERT_TRUE(record);
  auto held = store_.Hold(ImageDigestText(record->id));
  ASSERT_TRUE(held);
  EXPECT_TRUE(ImportLayers({Plain({File("a", "1")})})) << "a whole one stays as it is";
  fs::resize_file(Root(*record) + "/a", 0);
  EXPECT_EQ(ImportLayers({Plain({File("a", "1")})}).error().code, "image.in_use");
  EXPECT_TRUE(fs::exists(held->root + "/a"));
  held->lock.reset();
  ASSERT_TRUE(ImportLayers({Plain({File("a", "1")})}));
  EXPECT_EQ(Read(Root(*record) + "/a"), "1");
}

// Of a store that an older version has filled.
TEST_F(ImageStoreTest, SaysThatAnImageWithoutADigestOfItsFilesCannotBeCompared) {
  auto record = ImportLayers({Plain({File("a", "1")})});
  ASSERT_TRUE(record);
  const std::string id = ImageDigestText(record->id);
  const std::string path = fs::path(Root(*record)).parent_path() / "image.json";
  record->tree.reset();
  std::ofstream(path) << json::WritePretty(record->ToJson());
  EXPECT_TRUE(store_.Hold(id));
  EXPECT_EQ(store_.Verify(id).error().code, "image.not_comparable");
  ASSERT_TRUE(ImportLayers({Plain({File("a", "1")})}));
  EXPECT_TRUE(store_.Verify(id));
}

}  // namespace
}  // namespace writ::test
