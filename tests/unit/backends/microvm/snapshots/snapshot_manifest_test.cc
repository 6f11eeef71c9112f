// L3, L30: what a snapshot depends on, read strictly and compared whole.
#include "writ/backends/microvm/snapshots/snapshot_manifest.h"

#include <gtest/gtest.h>

#include "snapshot_fixture.h"
#include "writ/protocol/canonical.h"

namespace writ::test {
namespace {

using namespace backends::microvm;

SnapshotManifest Whole() {
  SnapshotManifest out;
  out.created_at = {1'700'000'000'123};
  out.fit = TestFit(1u << 20);
  out.state = {{"state", 5, protocol::Sha256("state")}};
  out.memory_root = protocol::Sha256("memory");
  out.tokens = protocol::Sha256("tokens");
  out.warm_up = {"pip install x", "true"};
  return out;
}

TEST(SnapshotManifest, IsReadAsItIsWritten) {
  const SnapshotManifest manifest = Whole();
  auto read = ReadSnapshotManifest(manifest.ToJson());
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(json::CanonicalBytes(read->ToJson()), json::CanonicalBytes(manifest.ToJson()));
  EXPECT_EQ(read->Id(), manifest.Id());
}

// L3: nothing is optional, and nothing unknown is passed over.
TEST(SnapshotManifest, IsRefusedWithoutAnyOfItsMembersOrWithAnother) {
  const json::Value whole = Whole().ToJson();
  for (const json::Member& member : whole.object()) {
    json::Value less = whole;
    less.object().Erase(member.name);
    EXPECT_FALSE(ReadSnapshotManifest(less)) << member.name;
    if (member.value.if_object() == nullptr) continue;
    for (const json::Member& inner : member.value.object()) {
      json::Value without = whole;
      without.object().Find(member.name)->object().Erase(inner.name);
      EXPECT_FALSE(ReadSnapshotManifest(without)) << member.name << "." << inner.name;
    }
    json::Value more = whole;
    more.object().Find(member.name)->object().Set("more", 1);
    EXPECT_FALSE(ReadSnapshotManifest(more)) << member.name;
  }
  json::Value more = whole;
  more.object().Set("more", 1);
  EXPECT_FALSE(ReadSnapshotManifest(more));
}

TEST(SnapshotManifest, IsRefusedWhereItSaysWhatThisVersionDoesNotKnow) {
  auto refused = [](const char* object, const char* name, const json::Value& value) {
    json::Value changed = Whole().ToJson();
    json::Object& in = *object == '\0' ? changed.object() : changed.object().Find(object)->object();
    in.Set(name, value);
    EXPECT_FALSE(ReadSnapshotManifest(changed)) << object << "." << name;
  };
  refused("", "format", "writ-snapshot/2");
  refused("vmm", "rule", "newer");
  refused("vmm", "name", "bhyve");
  refused("vmm", "version", "new");
  refused("vmm", "version", "7.2");
  refused("machine", "acceleration", "hvf");
  refused("machine", "cpus", 0);
  refused("memory", "bytes", 5000);
  refused("memory", "leafBytes", 4096);
  refused("", "state", json::Array{});
  for (const char* name : {"../state", ".state", "a/b", "", "State"})
    refused("", "state",
            json::Array{json::Object{
                {"name", name}, {"bytes", 1}, {"digest", protocol::Sha256("").ToHex()}}});
}

// Each with its code and what mends it.
TEST(SnapshotManifest, FitsNoMachineThatDiffersInAnything) {
  const SnapshotManifest manifest = Whole();
  EXPECT_TRUE(CheckFits(manifest, manifest.fit));
  auto refused = [&manifest](const char* code, auto change) {
    SnapshotFit other = manifest.fit;
    change(other);
    Status fits = CheckFits(manifest, other);
    ASSERT_FALSE(fits) << code;
    EXPECT_EQ(fits.error().kind, ErrorKind::kUnsupported);
    EXPECT_EQ(fits.error().code, code) << fits.error().message;
    EXPECT_FALSE(fits.error().hint.empty()) << code;
  };
  refused("snapshot.architecture", [](SnapshotFit& fit) { fit.architecture = "aarch64"; });
  refused("snapshot.cpu", [](SnapshotFit& fit) { fit.vmm.cpu += " more"; });
  refused("snapshot.vmm", [](SnapshotFit& fit) { fit.vmm.kind = VmmKind::kFirecracker; });
  refused("snapshot.vmm", [](SnapshotFit& fit) { ++fit.vmm.version.patch; });
  refused("snapshot.vmm", [](SnapshotFit& fit) { fit.vmm.binary = protocol::Sha256("other"); });
  refused("snapshot.image", [](SnapshotFit& fit) { fit.image = protocol::Sha256("other"); });
  refused("snapshot.machine", [](SnapshotFit& fit) { fit.memory_bytes *= 2; });
  refused("snapshot.machine", [](SnapshotFit& fit) { ++fit.cpus; });
  refused("snapshot.machine", [](SnapshotFit& fit) { fit.acceleration = Acceleration::kKvm; });
  refused("snapshot.machine", [](SnapshotFit& fit) { fit.layout = protocol::Sha256("other"); });
}

}  // namespace
}  // namespace writ::test
