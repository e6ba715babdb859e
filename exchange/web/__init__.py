"""Pages: what a browser shows. They decide nothing; every figure and verdict is the API's."""
