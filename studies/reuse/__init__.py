"""What reuse is worth: autotl against what a competent user would write without it."""
