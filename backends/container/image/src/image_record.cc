#include "image_record.h"

#include "writ/backends/image/oci_documents.h"
#include "writ/protocol/reader.h"

namespace writ::backends::image {

json::Value ImageRecord::ToJson() const {
  json::Array layer_list;
  for (const protocol::Digest& layer : layers) layer_list.push_back(ImageDigestText(layer));
  json::Object out{{"id", ImageDigestText(id)},
                   {"source", source},
                   {"layers", std::move(layer_list)},
                   {"tags", json::Value::Texts(tags)},
                   {"importedAt", imported_at},
                   {"entries", findings.entries},
                   {"bytes", findings.bytes},
                   {"skippedSpecialFiles", findings.skipped_special},
                   {"clearedSetIdBits", findings.cleared_set_id}};
  if (tree) out.Set("tree", ImageDigestText(*tree));
  if (manifest) out.Set("manifest", ImageDigestText(*manifest));
  return out;
}

Result<ImageRecord> ParseImageRecord(std::string_view bytes) {
  WRIT_ASSIGN(json::Value value, json::Parse(bytes, {.max_depth = 8, .max_bytes = kRecordBytes}));
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  ImageRecord out;
  auto digest = [&](const std::string& text, const std::string& pointer) {
    auto parsed = ParseImageDigest(text);
    if (!parsed) issues.Add("object.pattern", pointer, "must be a digest");
    return parsed ? *parsed : protocol::Digest();
  };
  out.id = digest(reader.String("id"), "/id");
  out.source = reader.String("source");
  for (const std::string& layer : reader.Strings("layers"))
    out.layers.push_back(digest(layer, "/layers"));
  out.tags = reader.Strings("tags");
  out.imported_at = reader.String("importedAt");
  auto count = [&](const char* name) { return static_cast<std::uint64_t>(reader.Integer(name)); };
  out.findings.entries = count("entries");
  out.findings.bytes = count("bytes");
  out.findings.skipped_special = count("skippedSpecialFiles");
  out.findings.cleared_set_id = count("clearedSetIdBits");
  if (auto tree = reader.OptionalString("tree")) out.tree = digest(*tree, "/tree");
  if (auto manifest = reader.OptionalString("manifest"))
    out.manifest = digest(*manifest, "/manifest");
  reader.RefuseUnknown();
  WRIT_TRY(issues.ToStatus("image.json"));
  return out;
}

}  // namespace writ::backends::image
