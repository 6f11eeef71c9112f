// Session: what all connections of one proxy process share. Loop thread only.
#pragma once

#include <array>
#include <asio/io_context.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "peer_guard.h"
#include "resolver.h"
#include "runner_link.h"
#include "writ/egress/proxy_config.h"
#include "writ/egress/proxy_event.h"

namespace writ::egress {

class Connection;

struct Session {
  Session(asio::io_context& loop, ProxyConfig configuration, RunnerLink& runner, Resolver& names);

  asio::io_context& io;
  ProxyConfig config;
  RunnerLink& link;
  Resolver& resolver;
  std::optional<PeerGuard> peer_guard;
  std::map<std::string, std::vector<IpAddress>> overrides;
  std::string expected_credentials;  // "writ:TOKEN"

  Counters counters;
  std::uint64_t next_flow = 1;
  std::set<std::shared_ptr<Connection>> connections;
  std::size_t max_connections = 0;
  bool stopping = false;

  // Where all tunnels copy through: bytes stay in it for no longer than one step of one coroutine.
  static constexpr std::size_t kScratchBytes = 256 * 1024;
  std::vector<char> scratch = std::vector<char>(kScratchBytes);
};

}  // namespace writ::egress
