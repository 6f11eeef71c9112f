// A plane behind its HTTP server, and a client of it, for tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "http_client.h"
#include "test_plane.h"

namespace writ::test {

class Api : public ::testing::Test {
 protected:
  void Start(const plane::Config& config = {}, plane::HttpServerOptions options = {}) {
    plane = std::make_unique<TestPlane>("", config);
    auto started = plane::HttpServer::Start(**plane, real, std::move(options));
    ASSERT_TRUE(started) << started.error().ToString();
    server = std::move(*started);
    client = std::make_unique<HttpClient>(server->url());
  }
  std::string Token(const std::string& name, std::vector<plane::Role> roles) {
    return (*plane)->CreatePrincipal(plane->local, name, roles).value().token;
  }
  SystemClock real;
  std::unique_ptr<TestPlane> plane;
  std::unique_ptr<plane::HttpServer> server;
  std::unique_ptr<HttpClient> client;
};

}  // namespace writ::test
