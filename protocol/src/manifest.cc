#include "writ/protocol/manifest.h"

#include <set>

namespace writ::protocol {

Manifest Manifest::Read(json::ObjectReader reader, const json::Value& raw) {
  Manifest out;
  out.raw = raw;
  reader.Literal("version", kManifestVersion);
  out.base_ref = reader.As<CommitId>("baseRef");
  out.bundle_hash = reader.As<Digest>("bundleHash");
  out.dirty_diff_hash = reader.OptionalAs<Digest>("dirtyDiffHash");
  std::set<std::string> seen;
  reader.ForEachObject("untrackedFiles", [&](json::ObjectReader& item) {
    UntrackedFile file;
    file.path = item.As<WorkspacePath>("path");
    file.hash = item.As<Digest>("hash");
    file.bytes = item.Integer("bytes");
    if (!file.path.empty() && !seen.insert(file.path.text()).second) {
      item.issues().Add("object.duplicate", item.PointerOf("path"),
                        "must not stand in the list twice");
    }
    out.untracked_files.push_back(std::move(file));
  });
  out.denied_patterns = reader.Strings("deniedPatterns", {.max_bytes = 4096});
  out.denied_paths = reader.Strings("deniedPaths", {.max_bytes = 4096});
  return out;
}

Result<Manifest> Manifest::Parse(const json::Value& value) {
  json::Issues issues;
  Manifest out = Read(json::ObjectReader(issues, value), value);
  WRIT_TRY(issues.ToStatus("the workspace manifest"));
  return out;
}

json::Value Manifest::ToJson() const {
  if (raw.is_object()) return raw;
  json::Array files;
  for (const UntrackedFile& file : untracked_files) {
    files.push_back(json::Object{{"path", file.path}, {"hash", file.hash}, {"bytes", file.bytes}});
  }
  json::Object out{
      {"version", kManifestVersion}, {"baseRef", base_ref}, {"bundleHash", bundle_hash}};
  out.SetOptional("dirtyDiffHash", dirty_diff_hash);
  out.Set("untrackedFiles", std::move(files));
  out.Set("deniedPatterns", json::Value::Texts(denied_patterns));
  out.Set("deniedPaths", json::Value::Texts(denied_paths));
  return out;
}

Digest Manifest::Hash() const {
  return HashValue(ToJson());
}

}  // namespace writ::protocol
