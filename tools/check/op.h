// What of an op no table of arguments says: its error bounds, how its outputs are judged, which features a sweep takes together.
// Defined in ops/<op>/check.cc, most of it in the family's check/.
#pragma once

#include <string_view>

#include "check/sharing.h"
#include "check/tolerances.h"
#include "core/schema.h"

namespace kilter::check {

struct Case;
class Tensors;
struct Report;

struct Op {
  const char* name;
  const Bounds* bounds;
  const char* usual;  // of the inputs that may lack, those that models have
  bool same_bits;     // on every backend
  bool alone;         // elements have nothing to do with one another: no length is a class of its own
  // Compares outputs with the reference.  Tensors that the case does not ask for are ignored.
  void (*judge)(const Case& c, const Tensors& t, Report* r);
  void (*vary)(Case* c, int variant);                        // one of kVariants sets of features
  void (*share)(const Case& c, Sharing* sharing) = nullptr;  // what of a sample's channels shares statistics; null: all of a row
  // Of a tensor of which a case says nothing, and without which another one would not have to be absent; null: as usual.
  DType (*type)(const Case& c, const Field& f, DType usual) = nullptr;
};
inline constexpr int kVariants = 5;

const Op* find_op(std::string_view name);  // null if there is none

}  // namespace kilter::check
