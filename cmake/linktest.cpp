// The link test of a module: its whole archive against only what it declared.
int main() { return 0; }
