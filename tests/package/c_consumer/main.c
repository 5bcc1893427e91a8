#include "../check.h"

int main(int argc, char** argv) { return check_rms_norm(argc > 1 ? argv[1] : "c_consumer"); }
