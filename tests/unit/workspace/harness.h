// What the tests of this folder share: temporary folders, the real git as a tool, and the way of a
// run (materialize, let a "job" edit, collect) in a few lines.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/manifest.h"
#include "writ/workspace/capture.h"
#include "writ/workspace/collect.h"
#include "writ/workspace/materialize.h"
#include "writ/workspace/object_cache.h"

namespace writ::workspace::test {

// A folder that is removed, whatever its modes, when this goes.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string Sub(const std::string& name) const;  // made where it is missing

 private:
  std::string path_;
};

struct ToolResult {
  int code = -1;
  std::string out;
  std::string err;
};
// Runs a program found in /usr/bin with a clean environment; `input` on its standard input.
ToolResult RunTool(const std::vector<std::string>& argv, const std::string& cwd,
                   const std::string& input = {}, const std::vector<std::string>& env = {});
// git, which must succeed; its standard output.
std::string Git(const std::string& cwd, const std::vector<std::string>& args,
                const std::string& input = {});

void WriteFileAt(const std::string& path, const std::string& bytes,
                 int mode = 0644);  // and parents
std::string ReadFileAt(const std::string& path);

// A repository with one commit of `files`.
void MakeRepository(const std::string& path, const std::map<std::string, std::string>& files);
void CommitAll(const std::string& path, const std::string& message);

// Blobs by their hash, as files of a folder.
class BlobFolder {
 public:
  explicit BlobFolder(std::string path) : path_(std::move(path)) {}
  protocol::Digest Put(std::string_view bytes);
  void PutAll(const Captured& captured);
  BlobSource Source() const;
  std::string PathOf(const protocol::Digest& digest) const;

 private:
  std::string path_;
};

// A plain manifest of HEAD: bundle by real git, nothing dirty.
protocol::Manifest ManifestOfHead(const std::string& repository, BlobFolder& blobs);

// One run's place: tree, trusted folder, cache.
struct RunPlace {
  explicit RunPlace(const std::string& root, const std::string& cache);
  Result<Materialized> Materialize(const protocol::Manifest& manifest, const BlobFolder& blobs,
                                   std::optional<JobOwner> owner = std::nullopt);
  Result<Collected> Collect(const Materialized& materialized, CollectOptions options = {});
  std::string tree;
  UniqueFd tree_fd, trusted_fd;
  std::unique_ptr<ObjectCache> cache;
};

// "mode hash path" of everything in a folder but its root .git, as git would track it.
std::map<std::string, std::string> Snapshot(const std::string& tree);

std::string Explain(const Error& error);
bool HasFinding(const std::vector<Finding>& findings, const std::string& code,
                const std::string& path = {});

}  // namespace writ::workspace::test

#define WRIT_ASSERT_OK(result) \
  ASSERT_TRUE((result).has_value()) << writ::workspace::test::Explain((result).error())
