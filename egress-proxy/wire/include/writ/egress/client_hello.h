// ClientHelloReader: the SNI out of the first bytes of a TLS connection (RFC 8446, RFC 6066; L23).
// Pure.
//
// Reads a ClientHello that may be cut into any number of TLS records and TCP segments, within a
// bound. It looks; it does not judge: which name is right is DecideFirstFlight's business.
// Malformed TLS, a hello over the bound and anything that is not TLS give kNotTls, because no
// server would read it otherwise.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace writ::egress {

struct ClientHello {
  std::optional<std::string> sni;  // host_name of server_name; raw bytes
  bool encrypted_hello =
      false;  // extension encrypted_client_hello (0xfe0d) of type outer, GREASE included
};

class ClientHelloReader {
 public:
  static constexpr std::size_t kMaxHelloBytes = 64 * 1024;  // over all records

  enum class State : std::uint8_t { kNeedMore, kComplete, kNotTls };
  // `all`: everything received so far; it only ever grows between calls. Bytes after the hello are
  // not looked at.
  State Read(std::string_view all);
  const ClientHello& hello() const { return hello_; }  // meaningful after kComplete

 private:
  std::size_t next_record_ = 0;  // offset in `all` of the first record not yet taken
  std::string handshake_;        // handshake bytes gathered from records
  ClientHello hello_;
};

}  // namespace writ::egress
