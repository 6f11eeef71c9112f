// L30: a snapshot is whole, durable before it is offered, and looked at before it is used.
#include "writ/backends/microvm/snapshots/snapshot_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "snapshot_fixture.h"
#include "writ/backends/microvm/pages/memory_digest.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/canonical.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using namespace backends::microvm;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMemory = 3u * 64 * 1024 + 8 * kPage;  // the last leaf is short
constexpr char kTokens[] = "host\nguest\n";

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

class SnapshotStoreTest : public testing::Test {
 protected:
  SnapshotStoreTest() {
    std::string pattern = fs::temp_directory_path() / "writ-snapshots-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    place_ = pattern;
    fs::create_directory(place_ + "/machine");
    // One leaf of data with a page of zeros in it, a leaf that is a hole, and a short one at the
    // end.
    std::string memory(kMemory, '\0');
    for (std::size_t i = 0; i < 16 * kPage; ++i)
      if (i / kPage != 3) memory[i] = static_cast<char>('a' + i % 23);
    for (std::size_t i = 2u * 64 * 1024; i < kMemory; ++i) memory[i] = static_cast<char>(i % 251);
    memory_ = memory;
    std::ofstream(place_ + "/machine/ram", std::ios::binary) << memory;
    std::ofstream(place_ + "/machine/state", std::ios::binary) << "device state";
    store_ = std::make_unique<SnapshotStore>(place_ + "/store");
  }
  ~SnapshotStoreTest() override { fs::remove_all(place_); }

  Result<SnapshotRecord> Add(const std::function<void(const std::string&)>& told = {}) const {
    UniqueFd from(::open((place_ + "/machine").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    SnapshotManifest manifest;
    manifest.fit = TestFit(kMemory);
    return store_->Add({from.get(), {"state"}, "ram", Secret(std::string_view(kTokens))},
                       std::move(manifest), told);
  }
  std::string FolderOf(const SnapshotRecord& record) const {
    return store_->dir() + "/sha256-" + record.id.ToHex();
  }
  Status CopyOut(const SnapshotRecord& record) const {
    auto held = store_->Hold(record.id);
    if (!held) return std::move(held).error();
    fs::remove_all(place_ + "/clone");
    fs::create_directory(place_ + "/clone");
    UniqueFd to(::open((place_ + "/clone").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return store_->CopyOut(*held, to.get(), ::geteuid(), ::getegid(), MemoryCopy::kWhole);
  }
  std::vector<std::string> Entries(const std::string& dir) const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(dir)) out.push_back(entry.path().filename());
    std::sort(out.begin(), out.end());
    return out;
  }
  static void Flip(const std::string& file, std::streamoff at) {
    std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
    stream.seekg(at);
    const char was = static_cast<char>(stream.get());
    stream.seekp(at);
    stream.put(static_cast<char>(was ^ 1));
  }
  // Refused in every way to use it, with a code and what mends it.
  void ExpectRefused(const SnapshotRecord& record, const std::string& code) const {
    for (const Status& refused : {CopyOut(record), [&]() -> Status {
                                    auto verified = store_->Verify(record.text());
                                    return verified ? Status() : Status(verified.error());
                                  }()}) {
      ASSERT_FALSE(refused) << code;
      EXPECT_EQ(refused.error().kind, ErrorKind::kIntegrity) << refused.error().ToString();
      EXPECT_EQ(refused.error().code, code) << refused.error().ToString();
      EXPECT_FALSE(refused.error().hint.empty()) << code;
    }
    if (fs::exists(place_ + "/clone")) {
      EXPECT_THAT(Entries(place_ + "/clone"), IsEmpty());
    }
  }

  std::string place_;
  std::string memory_;
  std::unique_ptr<SnapshotStore> store_;
};

TEST_F(SnapshotStoreTest, GivesAMachineWhatTheOtherOneWas) {
  auto made = Add();
  ASSERT_TRUE(made) << made.error().ToString();
  EXPECT_TRUE(store_->Verify(made->text()));
  Status copied = CopyOut(*made);
  ASSERT_TRUE(copied) << copied.error().ToString();
  EXPECT_EQ(Read(place_ + "/clone/memory"), memory_);
  EXPECT_EQ(Read(place_ + "/clone/state"), "device state");
  EXPECT_EQ(Read(place_ + "/clone/tokens"), kTokens);
  EXPECT_THAT(Entries(place_ + "/clone"), testing::ElementsAre("memory", "state", "tokens"));
  // The copy is the clone's own.
  Flip(place_ + "/clone/memory", 0);
  EXPECT_TRUE(store_->Verify(made->text()));
  auto found = store_->Find(made->id.ToHex().substr(0, 12));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->manifest.Id(), made->id);
  EXPECT_EQ(store_->List()->good.size(), 1u);
  EXPECT_EQ(store_->Find("sha256:000000000000").error().code, "snapshot.unknown");
}

// A page server gets the memory, uncompared; the machine gets the rest. What the server keeps
// beside the snapshot is no part of it.
TEST_F(SnapshotStoreTest, GivesAPageServerTheMemoryAndAFolderOfItsOwn) {
  auto made = Add();
  ASSERT_TRUE(made) << made.error().ToString();
  EXPECT_FALSE(store_->ReadWorkingSet(*made));
  pages::WorkingSet set;
  {
    auto held = store_->Hold(made->id);
    ASSERT_TRUE(held);
    fs::create_directory(place_ + "/clone");
    UniqueFd to(::open((place_ + "/clone").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(store_->CopyOut(*held, to.get(), ::geteuid(), ::getegid(), MemoryCopy::kNone));
    EXPECT_THAT(Entries(place_ + "/clone"), testing::ElementsAre("state", "tokens"));
    const uid_t server = ::geteuid() == 0 ? 65534 : ::geteuid();
    auto served = store_->OpenServed(*held, server, server);
    ASSERT_TRUE(served) << served.error().ToString();
    struct stat st {};
    ASSERT_EQ(::fstat(served->working_set.get(), &st), 0);
    EXPECT_EQ(st.st_uid, server);
    EXPECT_EQ(st.st_mode & 07777, 0700u);
    std::string bytes(memory_.size(), '\0');
    EXPECT_EQ(::pread(served->memory.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    EXPECT_EQ(bytes, memory_);
    const std::uint32_t touched[] = {3, 1};
    set.AddRecording(touched);
    ASSERT_TRUE(WriteFileAtomic(served->working_set.get(), pages::kWorkingSetName,
                                set.Encode(made->manifest.memory_root, memory_.size()), 0600));
    EXPECT_EQ(store_->Remove(made->text()).error().code, "snapshot.in_use");
    // A later server has what the earlier one recorded.
    auto again = store_->OpenServed(*held, server - 1, server - 1);
    ASSERT_TRUE(::geteuid() != 0 || again);
    const std::string recorded = FolderOf(*made) + "/working-set/" + pages::kWorkingSetName;
    ASSERT_EQ(::stat(recorded.c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, ::geteuid() == 0 ? server - 1 : server);
  }
  EXPECT_TRUE(store_->Verify(made->text()));
  auto read = store_->ReadWorkingSet(*made);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->recordings(), 1u);
  EXPECT_EQ(read->pieces().size(), 1u);
  // Another one's, or a damaged one, is none.
  Flip(FolderOf(*made) + "/working-set/" + pages::kWorkingSetName, 20);
  EXPECT_FALSE(store_->ReadWorkingSet(*made));
  EXPECT_TRUE(store_->Find(made->text()));
  EXPECT_TRUE(store_->Remove(made->text()));
  EXPECT_THAT(Entries(store_->dir()), testing::Not(testing::Contains(testing::StartsWith("sha"))));
}

// Zeros are holes, in the store and in a clone's copy.
TEST_F(SnapshotStoreTest, KeepsZerosAsHoles) {
  auto made = Add();
  ASSERT_TRUE(made && CopyOut(*made));
  for (const std::string& file : {FolderOf(*made) + "/memory", place_ + "/clone/memory"}) {
    UniqueFd memory(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (::lseek(memory.get(), 0, SEEK_HOLE) == static_cast<off_t>(kMemory))
      GTEST_SKIP() << "this file system makes no holes";
    EXPECT_EQ(::lseek(memory.get(), 64 * 1024, SEEK_DATA), 2 * 64 * 1024) << file;
  }
}

TEST_F(SnapshotStoreTest, IsClosedToOthers) {
  auto made = Add();
  ASSERT_TRUE(made);
  struct stat st {};
  for (const auto& entry : fs::recursive_directory_iterator(store_->dir())) {
    ASSERT_EQ(::stat(entry.path().c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 077, 0u) << entry.path();
  }
  ASSERT_EQ(::stat(store_->dir().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 077, 0u);
}

TEST_F(SnapshotStoreTest, RefusesOneThatLacksAPart) {
  for (const char* part : {"memory", "memory.leaves", "state", "tokens", "manifest.json"}) {
    auto made = Add();
    ASSERT_TRUE(made);
    fs::remove(FolderOf(*made) + "/" + part);
    ExpectRefused(*made, "snapshot.part_missing");
    ASSERT_TRUE(store_->Remove(made->text())) << part;
  }
}

// A byte anywhere: the snapshot is refused, and once found so it is refused at once.
TEST_F(SnapshotStoreTest, RefusesOneWithAFlippedByte) {
  struct Place {
    const char* part;
    std::streamoff at;
    const char* code;
  };
  for (const Place& place :
       {Place{"memory", 5, "snapshot.part_damaged"},
        Place{"memory", 3 * kPage + 9, "snapshot.part_damaged"},
        Place{"memory", 64 * 1024 + 7, "snapshot.part_damaged"},
        Place{"memory", kMemory - 1, "snapshot.part_damaged"},
        Place{"memory.leaves", 40, "snapshot.part_damaged"},
        Place{"memory.leaves", 9, "snapshot.part_damaged"},
        Place{"state", 3, "snapshot.part_damaged"}, Place{"tokens", 0, "snapshot.part_damaged"},
        Place{"manifest.json", -1, "snapshot.bad_signature"}}) {
    SCOPED_TRACE(std::string(place.part) + " " + std::to_string(place.at));
    auto made = Add();
    ASSERT_TRUE(made);
    const std::string file = FolderOf(*made) + "/" + place.part;
    // In a digest: the form stays what it was.
    const auto at = place.at >= 0
                        ? place.at
                        : static_cast<std::streamoff>(Read(file).find("\"image\":\"") + 12);
    Flip(file, at);
    EXPECT_EQ(CopyOut(*made).error().code, place.code);
    EXPECT_EQ(store_->Verify(made->text()).error().code, place.code);
    Flip(file, at);
    // Memory is not read whole to offer it: it is refused from then on, until somebody has looked
    // and found it whole.
    if (place.part == std::string("memory")) {
      EXPECT_EQ(store_->Hold(made->id).error().code, "snapshot.damaged");
      EXPECT_THAT(store_->List()->good, IsEmpty());
    }
    EXPECT_TRUE(store_->Verify(made->text()));
    EXPECT_TRUE(CopyOut(*made));
    ASSERT_TRUE(store_->Remove(made->text()));
  }
}

TEST_F(SnapshotStoreTest, RefusesWhatIsCutShortOrLonger) {
  for (const char* part : {"memory", "memory.leaves", "state", "tokens"}) {
    for (const int more : {-1, 1}) {
      auto made = Add();
      ASSERT_TRUE(made);
      const std::string file = FolderOf(*made) + "/" + part;
      fs::resize_file(file, fs::file_size(file) + static_cast<std::uintmax_t>(more));
      ExpectRefused(*made, "snapshot.part_damaged");
      ASSERT_TRUE(store_->Remove(made->text()));
    }
  }
}

// L46: parts of two good snapshots do not make one.
TEST_F(SnapshotStoreTest, RefusesPartsOfAnother) {
  auto one = Add();
  std::ofstream(place_ + "/machine/state", std::ios::binary) << "other states";
  Flip(place_ + "/machine/ram", 1);
  auto other = Add();
  ASSERT_TRUE(one && other);
  for (const char* part : {"memory", "memory.leaves", "state"}) {
    fs::rename(FolderOf(*one) + "/" + part, place_ + "/kept");
    fs::copy_file(FolderOf(*other) + "/" + part, FolderOf(*one) + "/" + part);
    ExpectRefused(*one, "snapshot.part_damaged");
    fs::rename(place_ + "/kept", FolderOf(*one) + "/" + part);
    EXPECT_TRUE(store_->Verify(one->text()));
  }
  fs::rename(FolderOf(*one) + "/manifest.json", place_ + "/kept");
  fs::copy_file(FolderOf(*other) + "/manifest.json", FolderOf(*one) + "/manifest.json");
  ExpectRefused(*one, "snapshot.part_foreign");
  fs::rename(place_ + "/kept", FolderOf(*one) + "/manifest.json");
  EXPECT_TRUE(store_->Verify(one->text()));
}

TEST_F(SnapshotStoreTest, RefusesWhatIsNoPartOfIt) {
  auto made = Add();
  ASSERT_TRUE(made);
  const std::string folder = FolderOf(*made);
  std::ofstream(folder + "/more") << "more";
  ExpectRefused(*made, "snapshot.part_foreign");
  fs::remove(folder + "/more");
  fs::rename(folder + "/state", place_ + "/elsewhere");
  fs::create_symlink(place_ + "/elsewhere", folder + "/state");
  ExpectRefused(*made, "snapshot.part_foreign");
  fs::remove(folder + "/state");
  ASSERT_EQ(::mkfifo((folder + "/state").c_str(), 0600), 0);
  ExpectRefused(*made, "snapshot.part_foreign");
  fs::remove(folder + "/state");
  fs::create_hard_link(place_ + "/elsewhere", folder + "/state");
  ExpectRefused(*made, "snapshot.part_open");
}

TEST_F(SnapshotStoreTest, RefusesWhatOthersCanOpen) {
  for (const char* part : {"memory", "state", "tokens", "memory.leaves", ""}) {
    auto made = Add();
    ASSERT_TRUE(made);
    const std::string path = FolderOf(*made) + "/" + part;
    fs::permissions(path, fs::perms::group_read, fs::perm_options::add);
    ExpectRefused(*made, "snapshot.part_open");
    ASSERT_TRUE(store_->Remove(made->text()));
  }
  fs::permissions(store_->dir() + "/key.pem", fs::perms::others_read, fs::perm_options::add);
  EXPECT_EQ(Add().error().code, "snapshot.key_mode");
}

// Signed by somebody, but not by the key of this store.
TEST_F(SnapshotStoreTest, RefusesOneOfAnotherDirectory) {
  auto made = Add();
  ASSERT_TRUE(made);
  fs::remove(store_->dir() + "/key.pem");
  auto another = Add();
  ASSERT_TRUE(another);
  ExpectRefused(*made, "snapshot.foreign_key");
  EXPECT_TRUE(store_->Verify(another->text()));
}

TEST_F(SnapshotStoreTest, RefusesAManifestThatIsNotAsItWasWritten) {
  auto made = Add();
  ASSERT_TRUE(made);
  const std::string file = FolderOf(*made) + "/manifest.json";
  const std::string whole = Read(file);
  auto write = [&](const std::string& bytes) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
  };
  for (const std::string& bytes : {whole + "\n", std::string("{}"), std::string("[]"),
                                   std::string("{"), std::string(), " " + whole}) {
    write(bytes);
    ExpectRefused(*made, "snapshot.manifest");
  }
  json::Value value = json::Parse(whole).value();
  value.object().Set("warmUp", json::Value::Texts({"another"}));
  write(json::CanonicalBytes(value));
  ExpectRefused(*made, "snapshot.bad_signature");
  value = json::Parse(whole).value();
  value.object().Find("signature")->object().Set("alg", "none");
  write(json::CanonicalBytes(value));
  ExpectRefused(*made, "snapshot.bad_signature");
  write(whole);
  EXPECT_TRUE(store_->Verify(made->text()));
}

// L38, L39: killed at each step, and once it is done: a whole snapshot or none, and what is left is
// swept.
TEST_F(SnapshotStoreTest, AKilledMakingLeavesAWholeSnapshotOrNone) {
  ASSERT_TRUE(Add());
  ASSERT_TRUE(store_->Remove(store_->List()->good.front().text()));
  for (int step = 0; step < 5; ++step) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      int told = 0;
      auto made = Add([&](const std::string&) {
        if (told++ == step) ::kill(::getpid(), SIGKILL);
      });
      if (made) ::kill(::getpid(), SIGKILL);
      ::_exit(1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status)) << step;
    const auto list = store_->List();
    ASSERT_TRUE(list);
    EXPECT_THAT(list->refused, IsEmpty());
    EXPECT_EQ(list->good.size(), step == 4 ? 1u : 0u) << step;
    for (const SnapshotRecord& record : list->good) EXPECT_TRUE(store_->Verify(record.text()));
    // What is left of it is told by a dry run, which leaves it, and swept.
    auto keep = [](const SnapshotRecord&) { return std::string(); };
    const std::size_t left = step == 4 ? 0 : 1;
    EXPECT_EQ(store_->CollectGarbage(GarbageMode::kDryRun, keep)->removed.size(), left) << step;
    EXPECT_EQ(store_->CollectGarbage(GarbageMode::kCollect, keep)->removed.size(), left) << step;
    EXPECT_THAT(store_->CollectGarbage(GarbageMode::kCollect, keep)->removed, IsEmpty());
  }
  EXPECT_THAT(Entries(store_->dir()), testing::SizeIs(2)) << "a key and a snapshot";
}

// What is being made is left alone by whoever sweeps.
TEST_F(SnapshotStoreTest, ASweepLeavesWhatIsBeingMade) {
  auto keep = [](const SnapshotRecord&) { return std::string(); };
  auto made = Add([&](const std::string&) {
    EXPECT_THAT(store_->CollectGarbage(GarbageMode::kCollect, keep)->removed, IsEmpty());
  });
  ASSERT_TRUE(made) << made.error().ToString();
}

TEST_F(SnapshotStoreTest, TakesAwayWhatIsNotWantedAndNotInUse) {
  auto first = Add();
  auto second = Add();
  auto third = Add();
  ASSERT_TRUE(first && second && third);
  Flip(FolderOf(*third) + "/state", 0);
  auto unwanted = [&](const SnapshotRecord& record) {
    return record.id == first->id || record.id == second->id ? std::string("old") : std::string();
  };
  {
    auto held = store_->Hold(first->id);
    ASSERT_TRUE(held);
    EXPECT_EQ(store_->Remove(first->text()).error().code, "snapshot.in_use");
    auto garbage = store_->CollectGarbage(GarbageMode::kCollect, unwanted);
    ASSERT_TRUE(garbage) << garbage.error().ToString();
    EXPECT_THAT(garbage->in_use, testing::ElementsAre(first->text()));
    EXPECT_THAT(garbage->removed, testing::SizeIs(2)) << "the damaged one, and the second";
  }
  EXPECT_TRUE(store_->Remove(first->text()));
  EXPECT_THAT(Entries(store_->dir()), testing::ElementsAre("key.pem"));
  EXPECT_EQ(store_->Remove(first->text()).error().code, "snapshot.unknown");
}

// A machine's files that are not what they should be are no snapshot.
TEST_F(SnapshotStoreTest, StoresNothingOfAMachineThatLeftLess) {
  fs::resize_file(place_ + "/machine/ram", kMemory - kPage);
  EXPECT_FALSE(Add());
  fs::remove(place_ + "/machine/ram");
  fs::create_symlink("/etc/passwd", place_ + "/machine/ram");
  EXPECT_FALSE(Add());
  fs::remove(place_ + "/machine/ram");
  EXPECT_FALSE(Add());
  EXPECT_THAT(Entries(store_->dir()), testing::ElementsAre("key.pem"));
}

}  // namespace
}  // namespace writ::test
