#include "backup/contents.h"

#include <algorithm>

#include "writ/plane/backup.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"
#include "writ/protocol/reader.h"

namespace writ::plane {

bool IsBackupName(std::string_view name) {
  for (std::string_view plain : {kSnapshotName, std::string_view("policy.json"),
                                 std::string_view("config.json"), std::string_view("runner.json")})
    if (name == plain) return true;
  if (name.starts_with("blobs/")) return protocol::Digest::Parse(name.substr(6)).has_value();
  if (!name.starts_with("keys/")) return false;
  const std::string_view key = name.substr(5);
  return !key.empty() && key.size() <= 64 && key.front() != '.' &&
         std::all_of(key.begin(), key.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '-' || c == '_';
         });
}

std::string PlaceOf(std::string_view name) {
  if (name == kSnapshotName) return "plane/" + std::string(name);
  if (name.starts_with("blobs/"))
    return "plane/blobs/" + std::string(name.substr(6, 2)) + "/" + std::string(name.substr(6));
  return std::string(name);
}

std::string Manifest::ToText() const {
  json::Array list;
  for (const auto& [name, file] : files)
    list.push_back(json::Object{{"name", name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  return json::WritePretty(json::Object{{"version", kBackupVersion},
                                        {"madeAt", made_at},
                                        {"planeKeyId", plane_key_id},
                                        {"schema", schema},
                                        {"missingBlobs", json::Value::Texts(missing_blobs)},
                                        {"files", std::move(list)}}) +
         "\n";
}

Result<Manifest> Manifest::Parse(std::string_view text) {
  WRIT_ASSIGN(json::Value value,
              json::Parse(text, {.max_depth = 4, .max_bytes = kMaxManifestBytes}));
  Manifest out;
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  reader.Literal("version", kBackupVersion);
  out.made_at = reader.String("madeAt");
  out.plane_key_id = reader.String("planeKeyId");
  out.schema = static_cast<int>(reader.Integer("schema", 1, 1'000'000));
  out.missing_blobs = reader.Strings("missingBlobs");
  reader.ForEachObject(
      "files",
      [&](json::ObjectReader& item) {
        const std::string name = item.String("name");
        const auto bytes = static_cast<std::uint64_t>(item.Integer("bytes"));
        const std::string sha256 = item.String("sha256");
        item.RefuseUnknown();
        if (!IsBackupName(name) || !protocol::Digest::Parse(sha256) ||
            !out.files.try_emplace(name, BackedUpFile{bytes, sha256}).second)
          issues.Add("object.value", item.PointerOf("name"), "is no file of a backup");
      },
      100'000'000);
  reader.RefuseUnknown();
  WRIT_TRY(issues.ToStatus("the backup's manifest"));
  return out;
}

}  // namespace writ::plane
