// What peers.py runs in turns: made once for the caller's arrays and then run on them again and again.
#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>
#include <utility>

#include "kilter/copy.h"
#include "kilter/kilter.hpp"

constexpr double kEps = 1e-5;

struct Contestant {
  std::string name;
  std::function<void()> run;
};

// Of a problem with x, dy, out, backward and threads, whose activations have so many bytes each.
template <class Problem>
Contestant copy_contestant(const Problem& p, size_t index, int64_t bytes) {
  const auto list = kilter::cli::copies(p.backward);
  if (index >= list.size()) return {};
  const auto run = [p, bytes, copy = list[index]] {
    kilter::cli::run_copy(copy, static_cast<char*>(p.x), p.backward ? static_cast<char*>(p.dy) : nullptr, static_cast<char*>(p.out), bytes,
                          p.threads);
  };
  return {list[index].name, run};
}

// A primitive of oneDNN and the memory that it works on.
class Onednn {
 public:
  using memory = dnnl::memory;
  void bind(int argument, const memory::desc& desc, void* pointer) { arguments_[argument] = memory(desc, engine, pointer); }
  template <class Primitive>
  Contestant contestant(const typename Primitive::primitive_desc& description) const {
    const auto run = [primitive = Primitive(description), s = dnnl::stream(engine), arguments = arguments_]() mutable {
      primitive.execute(s, arguments);
      s.wait();
    };
    return {"onednn " + std::string(description.impl_info_str()), run};
  }

  dnnl::engine engine = dnnl::engine(dnnl::engine::kind::cpu, 0);

 private:
  std::unordered_map<int, memory> arguments_;
};

// make()'s contestant for the C interface; null, with a line on stderr, where there is none.
template <class F>
void* created(const char* kind, F make) try {
  Contestant c = make();
  return c.run ? new Contestant(std::move(c)) : nullptr;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s: %s\n", kind, e.what());
  return nullptr;
}
