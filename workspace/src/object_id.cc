#include "writ/workspace/object_id.h"

#include "sha1.h"
#include "writ/base/encoding.h"

namespace writ::workspace {

std::optional<ObjectId> ObjectId::FromHex(std::string_view hex) {
  if (hex.size() != 40) return std::nullopt;
  ObjectId id;
  for (std::size_t i = 0; i < 40; ++i) {
    char c = hex[i];
    unsigned digit;
    if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else {
      return std::nullopt;
    }
    id.bytes[i / 2] = static_cast<std::uint8_t>(id.bytes[i / 2] << 4 | digit);
  }
  return id;
}

ObjectId ObjectId::OfObject(std::string_view type, std::string_view content) {
  Sha1 hash;
  std::string head = std::string(type) + " " + std::to_string(content.size());
  head.push_back('\0');
  hash.Update(head);
  hash.Update(content);
  return hash.Finish();
}

ObjectId ObjectId::OfBlob(std::string_view content) {
  return OfObject("blob", content);
}

std::string ObjectId::Hex() const {
  return HexEncode(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace writ::workspace
