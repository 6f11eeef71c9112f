// The overlay way against the plain way: the same input, the same random edits through a real mount
// and in a plain tree, and the same output to the byte. Each seed runs through each of the mounts
// that there are, as their whiteouts and opaque folders are not marked alike. Seeds are fixed;
// WRIT_SEED names one more.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <tuple>

#include "overlay_harness.h"
#include "random_editor.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/merged_tree.h"

namespace writ::workspace::test {
namespace {
namespace fs = std::filesystem;

std::vector<std::uint64_t> Seeds(std::uint64_t last) {
  std::vector<std::uint64_t> seeds;
  for (std::uint64_t seed = 1; seed <= last; ++seed) seeds.push_back(seed);
  if (const char* more = std::getenv("WRIT_SEED"))
    seeds.push_back(std::strtoull(more, nullptr, 10));
  return seeds;
}

// As mv(1) does it: an overlay does not rename a folder of its lower layer.
void Move(const std::string& from, const std::string& to) {
  struct stat st {};
  if (::lstat(to.c_str(), &st) == 0 || to.starts_with(from + "/")) return;
  std::error_code none;
  fs::create_directories(fs::path(to).parent_path(), none);
  if (none || ::rename(from.c_str(), to.c_str()) == 0) return;
  fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::copy_symlinks, none);
  fs::remove_all(from, none);
}

// Edits of whole folders and of what git does not carry.
void EditMore(RandomEditor& editor, const std::string& root) {
  std::vector<std::string> folders;
  for (const auto& [path, what] : SnapshotWithFolders(root))
    if (what == "folder") folders.push_back(root + "/" + path);
  std::string folder = folders.empty() ? root + "/made" : folders[editor.Below(folders.size())];
  std::string content = editor.Content();
  std::string name = editor.Name();
  std::string path = root + "/" + editor.Path();
  std::error_code none;
  switch (editor.Below(11)) {
    case 0:
      fs::remove_all(folder, none);
      break;
    case 1:  // gone and made again: opaque
      fs::remove_all(folder, none);
      fs::create_directories(folder, none);
      if (editor.OneIn(2)) WriteFileAt(folder + "/" + name, content);
      break;
    case 2:  // a file in the place of a folder
      fs::remove_all(folder, none);
      if (fs::exists(fs::path(folder).parent_path())) WriteFileAt(folder, content);
      break;
    case 3:
      Move(folder, path);
      break;
    case 4:
      fs::create_directories(path, none);
      break;
    case 5:
      (void)::mkfifo((folder + "/fifo").c_str(), 0644);
      break;
    case 6:
      if (fs::is_directory(folder) && !fs::is_directory(folder + "/.gitignore"))
        WriteFileAt(folder + "/.gitignore", editor.OneIn(2) ? "a\n*.txt\n!b.txt\n" : "sub/\nx\n");
      break;
    case 7:
      if (!fs::is_directory(root + "/.gitignore"))
        WriteFileAt(root + "/.gitignore", "c.c\n/sub\n*.b\n");
      break;
    case 8:
      if (fs::is_directory(folder)) WriteFileAt(folder + "/.git/config", "[core]\n");
      break;
    case 9: {  // sparse
      if (!fs::is_directory(folder)) break;
      UniqueFd fd(::open((folder + "/sparse").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
      if (fd && ::ftruncate(fd.get(), 100'000) != 0) return;
      break;
    }
    default:  // metadata alone
      (void)::chmod(folder.c_str(), 0700);
      (void)::utimensat(AT_FDCWD, folder.c_str(), nullptr, 0);
  }
}

std::vector<std::string> Told(const Collected& collected) {
  std::vector<std::string> told;
  for (const Finding& finding : collected.findings)  // whose examples come in the order of readdir
    told.push_back(finding.code + " " + finding.path + " " +
                   (finding.code == "workspace.ignored_files" ? "" : finding.detail));
  std::sort(told.begin(), told.end());
  for (const ChangedFile& file : collected.changed)
    told.push_back(file.path + " " + file.content.ToHex() + " " + std::to_string(file.mode) + " " +
                   std::to_string(file.bytes) + (file.changed_by_job ? " job" : ""));
  told.push_back("ignored " + std::to_string(collected.ignored_entries));
  return told;
}

// Every name with its kind, and the bytes of regular files, as MergedTree tells them.
std::map<std::string, std::string> Merged(const MergedTree& tree) {
  std::map<std::string, std::string> out;
  std::vector<std::string> folders = {""};
  while (!folders.empty()) {
    const std::string folder = folders.back();
    folders.pop_back();
    Status listed = tree.ForEachIn(folder, [&](const std::string& name, mode_t mode) {
      const std::string path = folder.empty() ? name : folder + "/" + name;
      EXPECT_TRUE(out.emplace(path, std::to_string(mode & S_IFMT)).second) << path << " twice";
      if (S_ISDIR(mode)) folders.push_back(path);
      if (!S_ISREG(mode)) return true;
      auto opened = tree.Open(path, O_RDONLY);
      EXPECT_TRUE(opened) << path;
      if (opened) out[path] += " " + ReadAll(opened->fd.get(), 1 << 20).value_or("unreadable");
      return true;
    });
    EXPECT_TRUE(listed) << folder << ": " << (listed ? "" : listed.error().ToString());
  }
  return out;
}

OverlayXattrs MarksOf(Mounter mounter) {
  return mounter == Mounter::kRoot ? OverlayXattrs::kTrusted : OverlayXattrs::kUser;
}

// Both ways in `root`, where "overlay" stays to be removed.
void CompareBothWays(std::uint64_t seed, Mounter mounter, const std::string& root) {
  RandomEditor editor(seed);
  std::string repository = root + "/repo";
  MakeRepository(repository, {{"a", "first\n"}, {"dir/b.txt", "x\n"}, {"dir/deep/er/c", "y\n"}});
  for (std::size_t commits = 1 + editor.Below(4); commits > 0; --commits) {
    for (int i = 0; i < 14; ++i) editor.Edit(repository);
    if (editor.OneIn(3)) WriteFileAt(repository + "/.gitignore", "*.o\ncon\n");
    CommitAll(repository, "more");
  }
  for (std::size_t edits = editor.Below(8); edits > 0; --edits) editor.Edit(repository);
  if (editor.OneIn(3)) fs::remove_all(repository + "/dir");
  Git(repository, {"add", "-A"});
  if (editor.OneIn(2)) Git(repository, {"reset", "-q"});
  auto captured = Capture(
      {.repository = repository, .allow_untracked = {"*"}, .cache_directory = root + "/captured"});
  WRIT_ASSERT_OK(captured);
  fs::create_directory(root + "/blobs");
  BlobFolder blobs(root + "/blobs");
  blobs.PutAll(*captured);

  RunPlace plain(root + "/plain", root + "/cache");
  auto plain_made = plain.Materialize(captured->manifest, blobs);
  WRIT_ASSERT_OK(plain_made);
  OverlayPlace overlay(root + "/overlay", root + "/caches", {}, mounter);
  auto overlay_made = overlay.Materialize(captured->manifest, blobs);
  WRIT_ASSERT_OK(overlay_made);
  EXPECT_EQ(overlay_made->file_count(), plain_made->file_count());
  auto lower = SnapshotWithFolders(overlay_made->lower_directory());
  overlay.Mount(*overlay_made);
  ASSERT_EQ(SnapshotWithFolders(overlay.view), SnapshotWithFolders(plain.tree));
  {
    AsJob as_job;
    EXPECT_EQ(Git(overlay.view, {"status", "--porcelain"}),
              Git(overlay.view, {"-c", "core.checkStat=default", "status", "--porcelain"}));
  }

  std::size_t edits = editor.Below(25);
  RandomEditor again = editor;
  auto edit = [&](RandomEditor& with, const std::string& tree) {
    for (std::size_t i = 0; i < edits; ++i) {
      if (with.OneIn(3)) {
        EditMore(with, tree);
      } else {
        with.Edit(tree);
      }
    }
    if (with.OneIn(4)) WriteFileAt(tree + "/.git/hooks/pre-commit", "#!/bin/sh\n", 0755);
    if (with.OneIn(4)) WriteFileAt(tree + "/.git/config", "[core]\n");
    if (with.OneIn(6)) fs::remove_all(tree + "/.git/objects/info");
    if (with.OneIn(8)) fs::remove_all(tree + "/.git");
  };
  edit(editor, plain.tree);
  {
    AsJob as_job;
    edit(again, overlay.view);
  }
  ASSERT_EQ(SnapshotWithFolders(overlay.view), SnapshotWithFolders(plain.tree));

  auto plain_out = plain.Collect(*plain_made);
  WRIT_ASSERT_OK(plain_out);
  CollectOptions options;
  options.xattrs = MarksOf(mounter);
  if (overlay.owner) options.owner = overlay.owner->uid;
  auto overlay_out = overlay.Collect(*overlay_made, options);
  WRIT_ASSERT_OK(overlay_out);
  EXPECT_EQ(overlay_out->diff, plain_out->diff);
  EXPECT_EQ(overlay_out->delta, plain_out->delta);
  EXPECT_EQ(Told(*overlay_out), Told(*plain_out));
  // Read beneath handles, without the mount, the merged tree is what the mount shows.
  UniqueFd view = OpenDirectory(overlay.view).value();
  UniqueFd base = OpenDirectory(overlay_made->lower_directory()).value();
  EXPECT_EQ(Merged(MergedTree::Overlay(overlay.upper_fd.get(), base.get(), MarksOf(mounter))),
            Merged(MergedTree::Plain(view.get())));
  EXPECT_EQ(SnapshotWithFolders(overlay_made->lower_directory()), lower);
}

class OverlayProperty : public ::testing::TestWithParam<std::tuple<std::uint64_t, Mounter>> {};

TEST_P(OverlayProperty, CollectsTheSameBytesFromTheUpperLayerAsFromAPlainTree) {
  const auto [seed, mounter] = GetParam();
  if (std::string why = WhyNoOverlay(mounter); !why.empty()) GTEST_SKIP() << why;
  SCOPED_TRACE("WRIT_SEED=" + std::to_string(seed));
  TempDir dir;
  const std::string root = dir.Sub("both");
  auto removed = [&root] {
    return RemoveTreeBeneath(OpenDirectory(root).value().get(), "overlay").has_value();
  };
  if (mounter != Mounter::kOrdinaryUser) {
    CompareBothWays(seed, mounter, root);
    EXPECT_TRUE(removed());
    return;
  }
  // In a process of its own, whose mount goes with it; the same user removes what is left.
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(root.c_str(), kJobUid, kJobUid), 0);
  }
  EXPECT_TRUE(InChild([&, seed = seed] {
    if (::geteuid() == 0 && !BecomeJob()) return false;
    const bool same = InChild([&] {
      CompareBothWays(seed, Mounter::kOrdinaryUser, root);
      return !::testing::Test::HasFailure();
    });
    return same && removed();
  }));
}

std::string NameOf(const ::testing::TestParamInfo<std::tuple<std::uint64_t, Mounter>>& tested) {
  const auto [seed, mounter] = tested.param;
  return std::to_string(seed) + (mounter == Mounter::kRoot           ? "_Root"
                                 : mounter == Mounter::kOrdinaryUser ? "_OrdinaryUser"
                                                                     : "_RootInUserNamespace");
}

// Those that the tiers make, and fewer of the one that none makes now.
INSTANTIATE_TEST_SUITE_P(Seeds, OverlayProperty,
                         ::testing::Combine(::testing::ValuesIn(Seeds(30)),
                                            ::testing::Values(Mounter::kRootInUserNamespace,
                                                              Mounter::kOrdinaryUser)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(SeedsOfPlainRoot, OverlayProperty,
                         ::testing::Combine(::testing::ValuesIn(Seeds(10)),
                                            ::testing::Values(Mounter::kRoot)),
                         NameOf);

}  // namespace
}  // namespace writ::workspace::test
