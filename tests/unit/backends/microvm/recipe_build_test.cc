// Recipes step by step, with the machine played by the test: what a RUN changed is a layer like a
// guest's, written by hand or by WriteTree.
#include "writ/backends/microvm/recipe_build.h"

#include <fcntl.h>
#include <glob.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "writ/backends/image/oci_documents.h"
#include "writ/backends/microvm/build_stage.h"
#include "writ/backends/microvm/erofs.h"
#include "writ/backends/microvm/tree_stream.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using namespace backends::microvm;
using backends::image::ImageDigestText;
using backends::image::ImageStore;

void Write(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << text;
}

class RecipeBuilds : public testing::Test {
 protected:
  void SetUp() override {
    glob_t found{};
    const bool kernel = ::glob("/boot/vmlinuz-*-cloud-amd64", 0, nullptr, &found) == 0;
    ::globfree(&found);
    if (!kernel) GTEST_SKIP() << "there is no kernel of linux-image-cloud-amd64";
    if (::access("/usr/bin/mkfs.erofs", X_OK) != 0) GTEST_SKIP() << "there is no mkfs.erofs";
    auto stage = BuildStage::Make();
    ASSERT_TRUE(stage);
    stage_.emplace(std::move(*stage));
    Write(At("agent"), "agent");
    Write(At("launcher"), "launcher");
    fs::create_directories(At("recipe"));
    Write(At("base/usr/bin/tool"), "tool");
    Write(At("base/etc/passwd"), "root:x:0:0::/:\nbuilder:x:1000:1001::/:\n");
    ASSERT_TRUE(Images().Import(At("base"), {.name = "base", .tag = {}, .limits = {}}));
  }
  std::string At(const std::string& name) const { return stage_->path() + "/" + name; }
  ImageStore Images() const { return ImageStore(At("images")); }
  ImageStore Guests() const { return GuestStore(At("state")); }

  Result<backends::image::ImageRecord> Make(const std::string& text) {
    RecipeBuild build;
    build.text = text;
    build.folder = At("recipe");
    build.work_dir = At("recipes");
    build.guest.agent = At("agent");
    build.guest.launcher = At("launcher");
    build.guest.version = "test";
    build.run = [this](const StepOrder& order) -> Result<StepDone> {
      ++runs_;
      last_ = order;
      StepDone done;
      done.run_id = "run_" + std::to_string(runs_);
      done.bundle = "bundle";
      done.layer = At("layer");
      auto bytes = ReadFile(done.layer, 1 << 20);
      if (!bytes) return bytes.error();
      done.layer_digest = protocol::Sha256(*bytes);
      return done;
    };
    return BuildRecipe(Images(), Guests(), build);
  }
  // What a step left in the upper layer of its root becomes its layer.
  void LayerOf(const std::string& directory) {
    auto upper = OpenDirectory(directory);
    UniqueFd out(::open(At("layer").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    ASSERT_TRUE(upper && out);
    ASSERT_TRUE(WriteTree(upper->get(), out.get()));
  }
  // The root that the image's recipe ends in.
  std::string RootOf(const backends::image::ImageRecord& record) {
    auto held = Guests().Hold(ImageDigestText(record.id));
    if (!held) return {};
    auto text = ReadFile(held->root + "/" + kProvenanceName, 1 << 20);
    auto provenance = text ? ParseProvenance(*text) : std::move(text).error();
    if (!provenance) return {};
    for (const ImageStore& store : {ImageStore(At("recipes/roots")), Images()})
      if (auto root = store.Hold(ImageDigestText(provenance->root))) return root->root;
    return {};
  }

  std::optional<BuildStage> stage_;
  int runs_ = 0;
  StepOrder last_;
};

TEST_F(RecipeBuilds, GiveTheSameDigestForTheSameInputs) {
  Write(At("recipe/app/main"), "one");
  Write(At("recipe/note"), "note");
  fs::create_symlink("main", At("recipe/app/link"));
  const std::string text =
      "FROM base\nENV A=1\nCOPY app note /srv/\nWORKDIR /srv/made\nUSER builder\n"
      "START ./serve\nHEALTHCHECK ./probe\n";
  auto first = Make(text);
  ASSERT_TRUE(first) << first.error().ToString();
  ASSERT_TRUE(CollectRecipeGarbage(At("recipes"), false));
  auto again = Make(text);
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_EQ(first->id, again->id);
  EXPECT_EQ(runs_, 0);
  const std::string root = RootOf(*again);
  EXPECT_EQ(ReadFile(root + "/srv/main", 100).value_or(""), "one");
  EXPECT_EQ(ReadFile(root + "/srv/note", 100).value_or(""), "note");
  EXPECT_EQ(fs::read_symlink(root + "/srv/link"), "main");
  EXPECT_TRUE(fs::is_directory(root + "/srv/made"));
  auto held = Guests().Hold(ImageDigestText(again->id));
  ASSERT_TRUE(held);
  auto manifest = ReadGuestManifest(held->root);
  ASSERT_TRUE(manifest) << manifest.error().ToString();
  EXPECT_EQ(manifest->config.user, "builder");
  EXPECT_EQ(manifest->config.start, "./serve");
  auto checked = CheckProvenance(held->root, {});
  ASSERT_TRUE(checked) << checked.error().ToString();
  EXPECT_EQ(checked->provenance.steps.size(), 2u);
  // A recipe beside it that says something else.
  Write(held->root + "/recipe", text + "# more\n");
  EXPECT_EQ(CheckProvenance(held->root, {}).error().code, "provenance.recipe");
  Write(At("recipe/note"), "another");
  auto other = Make(text);
  ASSERT_TRUE(other);
  EXPECT_NE(other->id, first->id);
}

TEST_F(RecipeBuilds, CarryOutWhatARunChangedAndDoItOnce) {
  Write(At("upper/usr/bin/made"), "made");
  ASSERT_EQ(::chmod(At("upper/usr/bin/made").c_str(), 06755), 0);
  fs::create_symlink("/etc/passwd", At("upper/usr/link"));
  LayerOf(At("upper"));
  const std::string text = "FROM base\nENV A=1\nUSER builder\nWORKDIR /srv\nRUN make\n";
  auto record = Make(text);
  ASSERT_TRUE(record) << record.error().ToString();
  EXPECT_EQ(runs_, 1);
  EXPECT_EQ(last_.command, "make");
  const std::string root = RootOf(*record);
  EXPECT_EQ(ReadFile(root + "/usr/bin/made", 100).value_or(""), "made");
  EXPECT_EQ(ReadFile(root + "/usr/bin/tool", 100).value_or(""), "tool");
  struct stat st {};
  ASSERT_EQ(::lstat((root + "/usr/bin/made").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u);  // no set-id bit
  EXPECT_EQ(fs::read_symlink(root + "/usr/link"), "/etc/passwd");
  // The machine booted an image that is for steps and nothing else.
  auto booted = GuestStore(At("recipes")).Hold(last_.image);
  ASSERT_TRUE(booted);
  auto manifest = ReadGuestManifest(booted->root);
  ASSERT_TRUE(manifest);
  EXPECT_TRUE(manifest->for_steps);
  auto again = Make(text);
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_EQ(runs_, 1);
  EXPECT_EQ(again->id, record->id);
  ASSERT_TRUE(Make("FROM base\nENV A=2\nUSER builder\nWORKDIR /srv\nRUN make\n"));
  EXPECT_EQ(runs_, 2) << "another variable is another step";
  // Its receipt is held against it: this one is none.
  auto held = Guests().Hold(ImageDigestText(record->id));
  ASSERT_TRUE(held);
  EXPECT_EQ(CheckProvenance(held->root, {}).error().code, "provenance.bundle");
}

// What a machine says of its changes is anybody's word.
TEST_F(RecipeBuilds, TakeNothingOfALayerThatIsNone) {
  for (const std::string& bytes :
       {std::string("nonsense"), std::string(), std::string(200, '\xff')}) {
    std::ofstream(At("layer"), std::ios::trunc) << bytes;
    auto record = Make("FROM base\nRUN make\n");
    ASSERT_FALSE(record);
    EXPECT_TRUE(record.error().message.starts_with("line 2:")) << record.error().message;
  }
  fs::create_directories(At("upper/usr"));
  LayerOf(At("upper"));
  fs::resize_file(At("layer"), fs::file_size(At("layer")) - 3);  // cut off
  EXPECT_FALSE(Make("FROM base\nRUN make\n"));
  EXPECT_TRUE(Guests().List()->empty());
}

TEST_F(RecipeBuilds, RefuseBeforeAnythingRuns) {
  Write(At("secret"), "secret");
  fs::create_symlink(At("secret"), At("recipe/out"));
  fs::create_directories(At("recipe/dir"));
  fs::create_symlink("../../secret", At("recipe/dir/up"));
  fs::create_directory_symlink(At("base"), At("recipe/folder"));
  struct Case {
    const char* text;
    const char* code;
  };
  for (const auto& [text, code] :
       {Case{"FROM none\nRUN make\n", "image.unknown"},
        Case{"FROM base\nRUN make\nCOPY missing /srv/\n", "recipe.copy_source"},
        Case{"FROM base\nRUN make\nCOPY folder/etc/passwd /srv/\n", "recipe.copy_source"},
        Case{"FROM --suite bookworm -x\nRUN make\n", "suite.package"},
        Case{"FROM base\nRUN make\nCOPY\n", "recipe.copy"}}) {
    auto record = Make(text);
    ASSERT_FALSE(record) << text;
    EXPECT_EQ(record.error().code, code) << text;
    EXPECT_TRUE(record.error().message.starts_with("line ")) << record.error().message;
  }
  for (const char* text : {"FROM base\nCOPY out /srv/\n", "FROM base\nCOPY dir /srv/\n",
                           "FROM base\nUSER nobody-there\n"})
    EXPECT_FALSE(Make(text)) << text;
  EXPECT_EQ(runs_, 0);
}

// COPY into what a link of the root leads to would be a write elsewhere.
TEST_F(RecipeBuilds, WriteThroughNoLinkOfTheRoot) {
  Write(At("recipe/file"), "file");
  fs::create_directories(At("outside"));
  fs::create_directory_symlink(At("outside"), At("base/usr/lead"));
  ASSERT_TRUE(Images().Import(At("base"), {.name = "linked", .tag = {}, .limits = {}}));
  auto copied = Make("FROM linked\nCOPY file /usr/lead/\n");
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().code, "recipe.copy_target");
  EXPECT_FALSE(Make("FROM linked\nWORKDIR /usr/lead/x\n"));
  EXPECT_TRUE(fs::is_empty(At("outside")));
}

TEST_F(RecipeBuilds, FindUsersOfTheImageAlone) {
  auto root = OpenDirectory(At("base"));
  ASSERT_TRUE(root);
  EXPECT_EQ(FindGuestUser(root->get(), "builder")->gid, 1001u);
  EXPECT_EQ(FindGuestUser(root->get(), "1000")->gid, 1001u);
  EXPECT_EQ(FindGuestUser(root->get(), "77")->gid, 77u);
  EXPECT_EQ(FindGuestUser(root->get(), "daemon").error().code, "recipe.no_user");
}

TEST_F(RecipeBuilds, KnowARootOfAnotherProcessorAndOneThatIsCutOff) {
  std::string elf(
      "\x7f"
      "ELF\x02\x01\x01",
      7);
  elf.resize(64, '\0');
  elf[18] = static_cast<char>(0xb7);  // EM_AARCH64
  Write(At("foreign/usr/bin/dash"), elf);
  ASSERT_TRUE(Images().Import(At("foreign"), {.name = "foreign", .tag = {}, .limits = {}}));
  auto record = Make("FROM foreign\n");
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().code, "microvm.architecture");
  ASSERT_TRUE(MakeErofs(At("base"), At("root.erofs"), {0, 0}, ErofsTimes::kNone));
  EXPECT_TRUE(CheckErofs(At("root.erofs")));
  fs::resize_file(At("root.erofs"), fs::file_size(At("root.erofs")) / 2);
  EXPECT_EQ(CheckErofs(At("root.erofs")).error().code, "microvm.erofs");
  Write(At("none"), std::string(8192, 'x'));
  EXPECT_EQ(CheckErofs(At("none")).error().kind, ErrorKind::kIntegrity);
}

}  // namespace
}  // namespace writ::test
