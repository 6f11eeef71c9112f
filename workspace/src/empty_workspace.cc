#include "writ/workspace/empty_workspace.h"

#include <openssl/evp.h>
#include <zlib.h>

#include <array>
#include <cstdint>
#include <string_view>

#include "writ/workspace/bundle.h"
#include "writ/workspace/object_id.h"

namespace writ::workspace {
namespace {

constexpr unsigned kCommit = 1;
constexpr unsigned kTree = 2;
constexpr unsigned kBlob = 3;

Error Failed(const char* what) {
  return Error{ErrorKind::kInternal, "workspace.empty", std::string("cannot make ") + what};
}

// gitformat-pack(5): type and size, then the content deflated.
Status Put(std::string& pack, unsigned type, std::string_view content) {
  std::size_t left = content.size();
  unsigned char byte = static_cast<unsigned char>(type << 4 | (left & 0xf));
  for (left >>= 4; left != 0; left >>= 7) {
    pack += static_cast<char>(byte | 0x80);
    byte = left & 0x7f;
  }
  pack += static_cast<char>(byte);
  uLongf size = compressBound(content.size());
  std::string deflated(size, '\0');
  if (compress(reinterpret_cast<Bytef*>(deflated.data()), &size,
               reinterpret_cast<const Bytef*>(content.data()), content.size()) != Z_OK)
    return Failed("an object of a pack");
  pack.append(deflated, 0, size);
  return {};
}

std::string_view Raw(const ObjectId& id) {
  return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}

}  // namespace

Result<Captured> EmptyWorkspace(const std::string& ignored) {
  const std::string blob = ignored + "\n";
  std::string tree = "100644 .gitignore";
  tree += '\0';
  tree += Raw(ObjectId::OfBlob(blob));
  const std::string commit = "tree " + ObjectId::OfObject("tree", tree).Hex() +
                             "\nauthor writ <writ@localhost> 0 +0000\n"
                             "committer writ <writ@localhost> 0 +0000\n\nnothing\n";
  std::string pack("PACK\0\0\0\2\0\0\0\3", 12);
  WRIT_TRY(Put(pack, kCommit, commit));
  WRIT_TRY(Put(pack, kTree, tree));
  WRIT_TRY(Put(pack, kBlob, blob));
  std::array<unsigned char, EVP_MAX_MD_SIZE> sum{};
  unsigned length = 0;
  if (EVP_Digest(pack.data(), pack.size(), sum.data(), &length, EVP_sha1(), nullptr) != 1)
    return Failed("a pack's sum");
  pack.append(reinterpret_cast<const char*>(sum.data()), length);

  const ObjectId head = ObjectId::OfObject("commit", commit);
  BundleHeader header;
  header.refs = {{head, "HEAD"}};
  CapturedBlob bundle;
  bundle.kind = CapturedBlob::Kind::kBundle;
  bundle.content = FormatBundleHeader(header) + pack;
  bundle.bytes = bundle.content.size();
  bundle.digest = protocol::Sha256(bundle.content);
  Captured out;
  WRIT_ASSIGN(out.manifest.base_ref, protocol::CommitId::Parse(head.Hex()));
  out.manifest.bundle_hash = bundle.digest;
  out.manifest.denied_patterns = DefaultDeniedPatterns();
  out.summary.head = head.Hex();
  out.summary.commits = 1;
  out.blobs.push_back(std::move(bundle));
  return out;
}

}  // namespace writ::workspace
