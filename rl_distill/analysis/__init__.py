"""What runs show: tables and figures from run folders."""
