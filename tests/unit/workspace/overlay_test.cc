// What a job can and cannot do to an overlay workspace, through real mounts.
#include <fcntl.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "overlay_harness.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/merged_tree.h"

namespace writ::workspace::test {
namespace {
namespace fs = std::filesystem;

class Overlay : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = WhyNoOverlay(); !why.empty()) GTEST_SKIP() << why;
    MakeRepository(dir_.path() + "/repo",
                   {{"a", "a\n"}, {"d/x", "x\n"}, {"d/y", "y\n"}, {"e/f/g", "g\n"}});
    manifest_ = ManifestOfHead(dir_.path() + "/repo", blobs_);
    made_ = place_.Materialize(manifest_, blobs_).value();
    place_.Mount(*made_);
  }
  std::string Lower(const std::string& path) { return made_->lower_directory() + "/" + path; }
  std::string View(const std::string& path) { return place_.view + "/" + path; }
  // The error of collecting with `name` set on a folder of the upper layer itself.
  std::string CodeWithMark(const char* path, const char* name, const char* value) {
    std::string folder = place_.root + "/upper/" + path;
    EXPECT_EQ(::setxattr(folder.c_str(), name, value, std::strlen(value), 0), 0) << errno;
    auto collected = place_.Collect(*made_);
    EXPECT_EQ(::removexattr(folder.c_str(), name), 0);
    return collected ? "" : collected.error().code;
  }
  TempDir dir_;
  BlobFolder blobs_{dir_.Sub("blobs")};
  protocol::Manifest manifest_;
  OverlayPlace place_{dir_.Sub("run"), dir_.Sub("caches")};
  std::optional<Materialized> made_;
};

// L13: what covers the base covers it for whoever reads the merged tree, too.
TEST_F(Overlay, AMergedTreeShowsNothingThatIsCovered) {
  {
    AsJob as_job;
    ASSERT_EQ(::unlink(View("a").c_str()), 0);
    fs::remove_all(View("d"));
    ASSERT_EQ(::mkdir(View("d").c_str(), 0755), 0);
    WriteFileAt(View("d/new"), "n\n");
    fs::remove_all(View("e"));
    ASSERT_EQ(::symlink("/etc", View("e").c_str()), 0);
  }
  UniqueFd base = OpenDirectory(made_->lower_directory()).value();
  const MergedTree tree =
      MergedTree::Overlay(place_.upper_fd.get(), base.get(), OverlayXattrs::kTrusted);
  auto error = [&](const char* path, int flags = O_PATH) {
    auto opened = tree.Open(path, flags);
    return opened ? 0 : opened.error().sys_errno;
  };
  EXPECT_EQ(error("a"), ENOENT) << "a whiteout";
  EXPECT_EQ(error("d/x"), ENOENT) << "an opaque folder";
  EXPECT_EQ(error("d/new"), 0);
  EXPECT_NE(error("e/f/g"), 0) << "a link in the place of a folder";
  EXPECT_NE(error("e/passwd"), 0) << "which is not followed";
  EXPECT_NE(error("../a"), 0);
  EXPECT_EQ(tree.Open("d/new", O_RDONLY)->origin, MergedTree::Origin::kJob);
  const std::string folder = place_.root + "/upper/d";
  ASSERT_EQ(::setxattr(folder.c_str(), "trusted.overlay.redirect", "/x", 2, 0), 0);
  auto forged = tree.ForEachIn("d", [](const std::string&, mode_t) { return true; });
  EXPECT_EQ(forged.error().code, "workspace.overlay_forged");
}

TEST_F(Overlay, AMergedTreeTellsTheBasesFilesFromTheJobs) {
  {
    AsJob as_job;
    WriteFileAt(View("d/x"), "changed\n");
  }
  UniqueFd base = OpenDirectory(made_->lower_directory()).value();
  const MergedTree tree =
      MergedTree::Overlay(place_.upper_fd.get(), base.get(), OverlayXattrs::kTrusted);
  EXPECT_EQ(tree.Open("d/x", O_RDONLY)->origin, MergedTree::Origin::kJob);
  EXPECT_EQ(tree.Open("d/y", O_RDONLY)->origin, MergedTree::Origin::kBase);
}

TEST_F(Overlay, AJobCannotAlterTheLowerLayer) {
  auto before = SnapshotWithFolders(made_->lower_directory());
  std::string index = ReadFileAt(Lower(".git/index"));
  struct stat st {};
  ASSERT_EQ(::stat(Lower("a").c_str(), &st), 0);
  {
    AsJob as_job;
    // By the layer's own path, were it to be reached.
    EXPECT_EQ(::open(Lower("a").c_str(), O_WRONLY | O_CLOEXEC), -1);
    EXPECT_EQ(errno, EACCES);
    EXPECT_NE(::chmod(Lower("a").c_str(), 0777), 0);
    EXPECT_NE(::unlink(Lower("a").c_str()), 0);
    EXPECT_NE(::link(Lower("a").c_str(), View("stolen").c_str()), 0);
    // Through the mount: a link, a descriptor that was open before, writing, mapping, chmod.
    UniqueFd early(::open(View("d/x").c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_EQ(::write(early.get(), "EVIL", 4), 4);
    ASSERT_EQ(::link(View("a").c_str(), View("linked").c_str()), 0);
    WriteFileAt(View("linked"), "through the link\n");
    EXPECT_EQ(::truncate(View("d/y").c_str(), 0), 0);
    EXPECT_EQ(::chmod(View("e/f/g").c_str(), 0777), 0);
    fs::remove_all(View("e"));
    EXPECT_EQ(::rename(View("d/x").c_str(), View("d/z").c_str()), 0);
    Git(place_.view, {"add", "-A"});
  }
  EXPECT_EQ(SnapshotWithFolders(made_->lower_directory()), before);
  EXPECT_EQ(ReadFileAt(Lower(".git/index")), index);
  struct stat after {};
  ASSERT_EQ(::stat(Lower("a").c_str(), &after), 0);
  EXPECT_EQ(after.st_ctim.tv_sec, st.st_ctim.tv_sec);
  EXPECT_EQ(after.st_ctim.tv_nsec, st.st_ctim.tv_nsec);
  EXPECT_EQ(after.st_nlink, 1u);
}

TEST_F(Overlay, MarksThatAJobMakesItselfDoNotCount) {
  {
    AsJob as_job;
    EXPECT_NE(::setxattr(View("d").c_str(), "trusted.overlay.opaque", "y", 1, 0), 0);
    EXPECT_NE(::mknod(View("d/gone").c_str(), S_IFCHR, 0), 0);
    EXPECT_EQ(::setxattr(View("d").c_str(), "user.overlay.opaque", "y", 1, 0), 0);
    EXPECT_EQ(::setxattr(View("d").c_str(), "user.overlay.redirect", "/e", 2, 0), 0);
    WriteFileAt(View("d/new"), "new\n");
  }
  auto collected = place_.Collect(*made_);
  WRIT_ASSERT_OK(collected);
  ASSERT_EQ(collected->changed.size(), 1u) << collected->diff;
  EXPECT_EQ(collected->changed[0].path, "d/new");
}

TEST_F(Overlay, RefusesALayerWithMarksThatTheMountNeverMakes) {
  {
    AsJob as_job;
    WriteFileAt(View("d/new"), "new\n");
  }
  EXPECT_EQ(CodeWithMark("d", "trusted.overlay.redirect", "/e"), "workspace.overlay_forged");
  EXPECT_EQ(CodeWithMark("d", "trusted.overlay.opaque", "x"), "workspace.overlay_forged");
  EXPECT_EQ(CodeWithMark("d/new", "trusted.overlay.metacopy", ""), "workspace.overlay_forged");
  EXPECT_EQ(CodeWithMark("d/new", "trusted.overlay.opaque", "y"), "workspace.overlay_forged");
  EXPECT_EQ(CodeWithMark("d/new", "trusted.overlay.whiteout", "y"), "workspace.overlay_forged");
  EXPECT_EQ(CodeWithMark("", "trusted.overlay.opaque", "y"), "workspace.overlay_forged");
  EXPECT_EQ(CodeWithMark("d", "trusted.overlay.overlay.opaque", "y"), "");
}

TEST_F(Overlay, ReadsOnlyWhatTheJobTouched) {
  {
    AsJob as_job;
    WriteFileAt(View("a"), "changed\n");
    WriteFileAt(View("d/new"), "new\n");
    EXPECT_EQ(::unlink(View("e/f/g").c_str()), 0);
  }
  auto collected = place_.Collect(*made_, {.owner = kJobUid});
  WRIT_ASSERT_OK(collected);
  EXPECT_EQ(collected->changed.size(), 3u);
  EXPECT_EQ(collected->files_seen, 2u);
  EXPECT_EQ(collected->files_read, 2u);
}

TEST_F(Overlay, TheFirstGitStatusOpensNoFile) {
  UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  for (const char* file : {"a", "d/x", "d/y", "e/f/g"})
    ASSERT_GE(::inotify_add_watch(watch.get(), View(file).c_str(), IN_OPEN), 0);
  char events[4096];
  {
    AsJob as_job;
    EXPECT_EQ(Git(place_.view, {"status", "--porcelain"}), "");
  }
  EXPECT_EQ(::read(watch.get(), events, sizeof events), -1) << "a file was opened";
  {
    AsJob as_job;  // all of the stat data: of another uid's view, so that every file is opened
    EXPECT_EQ(Git(place_.view, {"-c", "core.checkStat=default", "status", "--porcelain"}), "");
  }
  EXPECT_GT(::read(watch.get(), events, sizeof events), 0);
}

TEST_F(Overlay, GivesTheJobARepositoryThatItCanCommitTo) {
  {
    AsJob as_job;
    WriteFileAt(View("a"), "changed\n");
    EXPECT_EQ(Git(place_.view, {"status", "--porcelain"}), " M a\n");
    CommitAll(place_.view, "of the job");
    EXPECT_EQ(Git(place_.view, {"status", "--porcelain"}), "");
    Git(place_.view, {"fsck", "--strict"});
  }
  auto collected = place_.Collect(*made_);
  WRIT_ASSERT_OK(collected);
  EXPECT_TRUE(HasFinding(collected->findings, "workspace.commits_made"));
  EXPECT_EQ(collected->changed.size(), 1u);
}

std::uint64_t BlocksOf(const std::string& path) {
  std::uint64_t blocks = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    struct stat st {};
    if (::lstat(entry.path().c_str(), &st) == 0) blocks += static_cast<std::uint64_t>(st.st_blocks);
  }
  return blocks;
}

TEST_F(Overlay, EightRunsOnOneBaseTakeItsDiskOnce) {
  std::string checkouts = dir_.path() + "/caches/checkouts";
  std::uint64_t once = BlocksOf(checkouts);
  std::vector<std::unique_ptr<OverlayPlace>> places;
  std::vector<Materialized> made;
  for (int i = 0; i < 8; ++i) {
    places.push_back(
        std::make_unique<OverlayPlace>(dir_.Sub("run" + std::to_string(i)), dir_.Sub("caches")));
    auto one = places.back()->Materialize(manifest_, blobs_);
    WRIT_ASSERT_OK(one);
    EXPECT_TRUE(one->checkout_was_cached());
    EXPECT_EQ(one->lower_directory(), made_->lower_directory());
    EXPECT_TRUE(fs::is_empty(places.back()->root + "/upper"));
    places.back()->Mount(*one);
    AsJob as_job;
    WriteFileAt(places.back()->view + "/a", std::to_string(i));
    made.push_back(std::move(*one));
  }
  // But for the markers of eight caches that are open.
  EXPECT_EQ(BlocksOf(checkouts), once);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(ReadFileAt(places[i]->view + "/a"), std::to_string(i));
}

TEST_F(Overlay, IsRemovedWholeWhateverTheKernelAndTheJobLeft) {
  {
    AsJob as_job;
    fs::remove_all(View("d"));
    fs::create_directories(View("deep/er"));
    EXPECT_EQ(::chmod(View("deep").c_str(), 0), 0);
  }
  place_.mount.reset();
  struct stat st {};
  ASSERT_EQ(::stat((place_.root + "/work/work").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0u);
  WRIT_ASSERT_OK(RemoveTreeBeneath(OpenDirectory(dir_.path()).value().get(), "run"));
  EXPECT_FALSE(fs::exists(place_.root));
}

// A whole run of an ordinary user: a user namespace with one id, and userxattr.
void RunAsOrdinaryUser(const std::string& root, const protocol::Manifest& manifest,
                       const BlobFolder& blobs) {
  ASSERT_TRUE(BecomeJob());
  fs::create_directories(root + "/caches");
  OverlayPlace place(root + "/run", root + "/caches", {}, Mounter::kOrdinaryUser);
  auto made = place.Materialize(manifest, blobs);
  WRIT_ASSERT_OK(made);
  place.Mount(*made);
  fs::remove_all(place.view + "/d");
  WriteFileAt(place.view + "/d/new", "new\n");
  fs::remove(place.view + "/a");
  // The kernel hides its own names or gives the job others: neither makes a mark.
  (void)::setxattr((place.view + "/e").c_str(), "user.overlay.opaque", "y", 1, 0);
  (void)::setxattr((place.view + "/e").c_str(), "user.overlay.redirect", "/d", 2, 0);
  (void)::setxattr((place.view + "/d/new").c_str(), "user.overlay.metacopy", "", 0, 0);
  EXPECT_EQ(Git(place.view, {"status", "--porcelain"}), " D a\n D d/x\n D d/y\n?? d/new\n");
  auto collected = place.Collect(*made, {.xattrs = OverlayXattrs::kUser});
  WRIT_ASSERT_OK(collected);
  std::string paths;
  for (const ChangedFile& file : collected->changed)
    paths += file.path + (file.mode == 0 ? " gone " : " ");
  EXPECT_EQ(paths, "a gone d/new d/x gone d/y gone ");
  // The other namespace's reader would not see that d/x and d/y are covered.
  auto misread = place.Collect(*made, {.xattrs = OverlayXattrs::kTrusted});
  WRIT_ASSERT_OK(misread);
  EXPECT_EQ(misread->changed.size(), 2u);
}

TEST_F(Overlay, WorksForAnOrdinaryUserInANamespaceOfOneId) {
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  std::string root = dir_.Sub("ordinary");
  ASSERT_EQ(::chown(root.c_str(), kJobUid, kJobUid), 0);
  EXPECT_TRUE(InChild([&] {
    RunAsOrdinaryUser(root, manifest_, blobs_);
    return !::testing::Test::HasFailure();
  }));
}

}  // namespace
}  // namespace writ::workspace::test
