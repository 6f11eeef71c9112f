#include "writ/egress/client_hello.h"

namespace writ::egress {
namespace {

constexpr std::uint8_t kHandshakeRecord = 22;
constexpr std::uint8_t kClientHelloMessage = 1;
constexpr std::size_t kMaxRecord = 16384;  // plaintext limit of RFC 8446 section 5.1
constexpr std::uint16_t kServerName = 0;
constexpr std::uint16_t kEncryptedClientHello = 0xfe0d;

std::uint8_t Byte(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint8_t>(bytes[at]);
}

// A cursor over big-endian fields; once a read failed, all later ones fail.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  bool empty() const { return rest_.empty(); }
  std::uint32_t Number(std::size_t width) {
    if (!Has(width)) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < width; ++i) value = value << 8 | Byte(rest_, i);
    rest_.remove_prefix(width);
    return value;
  }
  std::string_view Bytes(std::size_t count) {
    if (!Has(count)) return {};
    std::string_view out = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return out;
  }
  std::string_view Vector(std::size_t length_width) { return Bytes(Number(length_width)); }

 private:
  bool Has(std::size_t count) {
    if (!ok_ || rest_.size() < count) ok_ = false;
    return ok_;
  }
  std::string_view rest_;
  bool ok_ = true;
};

// One host_name entry and nothing else: two names would be two readings.
bool ReadServerName(std::string_view extension, ClientHello& hello) {
  Fields outer(extension);
  std::string_view list = outer.Vector(2);
  if (!outer.ok() || !outer.empty()) return false;
  Fields entries(list);
  if (entries.Number(1) != 0) return false;
  std::string_view name = entries.Vector(2);
  if (!entries.ok() || !entries.empty() || name.empty()) return false;
  hello.sni = std::string(name);
  return true;
}

bool ParseHello(std::string_view body, ClientHello& hello) {
  Fields fields(body);
  std::uint32_t version = fields.Number(2);
  if (version < 0x0300 || version > 0x0304) return false;
  fields.Bytes(32);                                // random
  if (fields.Vector(1).size() > 32) return false;  // session id
  std::string_view suites = fields.Vector(2);
  if (suites.size() < 2 || suites.size() % 2 != 0) return false;
  if (fields.Vector(1).empty()) return false;  // compression methods
  if (!fields.ok()) return false;
  if (fields.empty()) return true;  // no extensions: no server name
  std::string_view extensions = fields.Vector(2);
  if (!fields.ok() || !fields.empty()) return false;
  Fields list(extensions);
  bool server_name_seen = false;
  while (list.ok() && !list.empty()) {
    std::uint32_t type = list.Number(2);
    std::string_view value = list.Vector(2);
    if (!list.ok()) return false;
    if (type == kServerName) {
      if (server_name_seen || !ReadServerName(value, hello)) return false;
      server_name_seen = true;
    } else if (type == kEncryptedClientHello) {
      hello.encrypted_hello = true;
    }
  }
  return list.ok();
}

}  // namespace

ClientHelloReader::State ClientHelloReader::Read(std::string_view all) {
  for (;;) {
    // What is known of the message decides as early as it can, so that junk does not wait for more.
    if (!handshake_.empty() && Byte(handshake_, 0) != kClientHelloMessage) return State::kNotTls;
    if (handshake_.size() >= 4) {
      Fields header(std::string_view(handshake_).substr(1, 3));
      std::size_t length = header.Number(3);
      if (length > kMaxHelloBytes) return State::kNotTls;
      if (handshake_.size() >= 4 + length) {
        // Plaintext after the hello inside the same flight is not TLS.
        if (handshake_.size() > 4 + length) return State::kNotTls;
        ClientHello read;
        if (!ParseHello(std::string_view(handshake_).substr(4, length), read))
          return State::kNotTls;
        hello_ = std::move(read);
        return State::kComplete;
      }
    }
    if (handshake_.size() > kMaxHelloBytes + 4 || next_record_ > 2 * kMaxHelloBytes)
      return State::kNotTls;
    std::string_view rest = all.substr(next_record_);
    if (!rest.empty() && Byte(rest, 0) != kHandshakeRecord) return State::kNotTls;
    if (rest.size() >= 2 && Byte(rest, 1) != 3) return State::kNotTls;
    if (rest.size() >= 3 && Byte(rest, 2) > 4) return State::kNotTls;
    if (rest.size() < 5) return State::kNeedMore;
    Fields length_field(rest.substr(3, 2));
    std::size_t length = length_field.Number(2);
    if (length == 0 || length > kMaxRecord) return State::kNotTls;
    if (rest.size() >= 6 && handshake_.empty() && Byte(rest, 5) != kClientHelloMessage)
      return State::kNotTls;
    if (rest.size() < 5 + length) return State::kNeedMore;
    handshake_.append(rest.substr(5, length));
    next_record_ += 5 + length;
  }
}

}  // namespace writ::egress
